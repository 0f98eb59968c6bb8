"""The command line's verbs: flags in, one call of the product, a sentence or JSON out.

Each command is a function of the remaining arguments. Inside it defines a ``command`` whose
signature tyro turns into flags, and hands it to ``shared.run``. (No ``from __future__ import
annotations`` in these modules: the annotations of such inner functions must be the types
themselves.)
"""
