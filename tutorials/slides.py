"""Write the figures of the lessons as slides, in one HTML page without references to other files.

    python tutorials/slides.py slides.html                         # of all lessons
    python tutorials/slides.py week3.html tutorials/0[67]-*.ipynb  # of some

A browser shows one slide per screen (Page Down: the next one) and prints one per page.
"""

import argparse
import html
import re
from pathlib import Path

import nbformat
from execute import lessons

PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Recurrent language models, step by step</title>
<style>
html {{ scroll-snap-type: y mandatory; font: 22px/1.4 system-ui, sans-serif; color: #1a202c }}
body {{ margin: 0 }}
section {{ box-sizing: border-box; height: 100vh; padding: 3vh 6vw; scroll-snap-align: start;
  display: flex; flex-direction: column; justify-content: center; break-after: page }}
h1, h2 {{ margin: 0 0 2vh }}
img {{ max-width: 100%; min-height: 0; flex: 0 1 auto; object-fit: contain }}
p, footer {{ max-width: 60em }}
footer {{ font-size: 16px; color: #4a5568; margin-top: 2vh }}
@page {{ size: 297mm 167mm; margin: 0 }}
</style>
{slides}
</html>
"""


def slides_of(path):
    """Return a lesson's slides as HTML: its title and objectives, then one slide per figure."""
    notebook = nbformat.read(path, as_version=4)
    opening = notebook.cells[0].source
    title = heading = re.match(r"# (.*)", opening)[1]
    aims = re.search(r"\*\*You will be able to:\*\*(.*?)(?=\n\n\*\*|\Z)", opening, re.S)
    slides = [_slide("h1", title, _paragraphs(aims[1] if aims else ""))]
    for cell in notebook.cells:
        found = re.findall(r"^##+ (.*)", cell.source, re.M) if cell.cell_type == "markdown" else []
        heading = found[-1] if found else heading
        for output in cell.get("outputs", []):
            if "image/png" in output.get("data", {}):
                alt = html.escape(output.metadata["image/png"]["alt"])
                image = "".join(output.data["image/png"].split())
                body = f'<img alt="{alt}" src="data:image/png;base64,{image}">'
                slides.append(_slide("h2", heading, body + f"<footer>{alt} ({title})</footer>"))
    return slides


def _slide(level, heading, body):
    return f"<section><{level}>{html.escape(_plain(heading))}</{level}>{body}</section>"


def _paragraphs(markdown):
    """Return a Markdown list or paragraph as HTML paragraphs, without its marks."""
    items = re.split(r"\n(?=- )|\n\n", markdown.strip())
    return "".join(f"<p>{html.escape(_plain(item))}</p>" for item in items if item.strip())


def _plain(markdown):
    text = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", markdown)
    return " ".join(re.sub(r"[*`]|^- |\$", "", text).split())


def main():
    """Write the page of slides."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("page", type=Path, help="HTML file to write")
    parser.add_argument("notebooks", nargs="*", type=Path, help="lessons (default: all)")
    arguments = parser.parse_args()
    paths = arguments.notebooks or lessons()
    slides = [slide for path in paths for slide in slides_of(path)]
    arguments.page.write_text(PAGE.format(slides="\n".join(slides)), encoding="utf-8")
    print(f"{arguments.page}: {len(slides)} slides")


if __name__ == "__main__":
    main()
