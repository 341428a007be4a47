"""Settings of Sphinx: `sphinx-build -W -b html docs site`."""

project = "stylejax"
author = "the stylejax developers"
html_title = "stylejax"
html_theme = "furo"
extensions = ["myst_parser"]
html_show_sourcelink = html_show_copyright = False
