"""Write the reference of the public names, api/gluonlm.html, into the site. Run by `make book`."""

import sys
from pathlib import Path

import pdoc

import gluonlm

# pdoc looks only into the module's own dictionary, and gluonlm imports its names on first use
vars(gluonlm).update((name, getattr(gluonlm, name)) for name in gluonlm.__all__)
pdoc.render.configure(docformat="numpy")
pdoc.pdoc("gluonlm", output_directory=Path(sys.argv[1]))
