"""``skfem-ml view``: the fields of a VTU on one page for a browser; ``scene`` reads, ``packed`` packs, ``page`` writes.

The page is ``view.html`` with ``view.css`` and ``view.js`` in it: one file, without a server and without a network.
"""
