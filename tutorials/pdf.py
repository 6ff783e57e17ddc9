"""Print the site of the course into one PDF: python tutorials/pdf.py SITE course.pdf

SITE is the folder of HTML pages that `make book` writes. Chromium prints each page, in the order
of the table of contents; `make pdf` calls this with the Python of the book's environment.
"""

import argparse
import html
import os
import re
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).resolve().parent
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
VIRTUAL_TIME = 20_000  # ms of a page's own clock: formulas are typeset after loading
TIMEOUT = 300  # seconds per page


class PrintingError(Exception):
    """A page was not printed; the message names it."""


def contents():
    """Return the names of the site's pages in the order of the table of contents."""
    text = (HERE / "_toc.yml").read_text(encoding="utf-8")
    return re.findall(r"(?:root|file): (\S+)", text)


def print_page(browser, page, target, running):
    """Print one HTML page into a PDF file; `running` contains the browser's process meanwhile.

    Raises
    ------
    PrintingError
        If the browser fails, or does not finish.
    """
    with tempfile.TemporaryDirectory(prefix="gluonlm-pdf-") as profile:
        command = [browser, "--headless=new", "--disable-gpu", f"--user-data-dir={profile}"]
        command += ["--disable-background-networking", "--no-pdf-header-footer"]
        command += ["--no-sandbox"] * (os.geteuid() == 0)  # root, as in a container, has no sandbox
        command += [f"--virtual-time-budget={VIRTUAL_TIME}", f"--print-to-pdf={target}"]
        command.append(page.as_uri())
        child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        running.add(child)
        try:
            error = child.communicate(timeout=TIMEOUT)[1].decode(errors="replace").strip()
        except subprocess.TimeoutExpired:
            child.kill()
            raise PrintingError(f"{page.name}: not printed in {TIMEOUT} seconds") from None
        finally:
            running.discard(child)
    if child.returncode or not target.is_file() or not target.stat().st_size:
        raise PrintingError(f"{page.name}: {browser} failed: {error[-200:]}")


def main(argv=None):
    """Print all pages and merge them, with a bookmark for each."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("site", type=Path, help="folder of HTML pages")
    parser.add_argument("pdf", type=Path, help="file to write")
    parser.add_argument("--jobs", type=int, default=2, help="pages printed at a time (default: 2)")
    arguments = parser.parse_args(argv)
    if arguments.jobs < 1:
        parser.error(f"--jobs {arguments.jobs}: must be at least 1")
    if not arguments.pdf.resolve().parent.is_dir():
        parser.error(f"{arguments.pdf}: no such folder")
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if not browser:
        parser.error(f"no browser to print with: install one of {', '.join(BROWSERS)}")
    pages = [arguments.site.resolve() / f"{name}.html" for name in contents()]
    for page in pages:
        if not page.is_file():
            parser.error(f"{page}: no such page; make book writes it")
    try:
        from pypdf import PdfReader, PdfWriter
    except ImportError:
        parser.error("no pypdf in this Python: make pdf uses the book's environment, which has it")

    with tempfile.TemporaryDirectory(prefix="gluonlm-pdf-") as folder:
        printed = [Path(folder, f"{number}.pdf") for number in range(len(pages))]
        running: set[subprocess.Popen] = set()
        with ThreadPoolExecutor(arguments.jobs) as pool:
            runs = [
                pool.submit(print_page, browser, page, file, running)
                for page, file in zip(pages, printed)
            ]
            try:
                for run in runs:
                    run.result()
            except PrintingError as error:
                sys.exit(f"pdf: {error}")
            finally:
                pool.shutdown(wait=False, cancel_futures=True)
                for child in list(running):
                    child.kill()  # Chromium ignores Ctrl-C
        book = PdfWriter()
        for page, file in zip(pages, printed):
            title = re.search(r"<title>(.*?)( &#8212; .*)?</title>", page.read_text("utf-8"), re.S)
            name = html.unescape(title[1]).strip() if title else page.stem
            book.append(PdfReader(file), outline_item=name, import_outline=False)
        book.write(arguments.pdf)
    print(f"{arguments.pdf}: {len(book.pages)} pages")


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("pdf: interrupted")
