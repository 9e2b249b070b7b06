"""What runs inside a worker process.

``bootstrap`` starts it, ``main`` is its life, ``loader`` loads user code, ``calls`` runs calls,
``validation`` and ``encoding`` turn bytes into arguments and results into bytes, ``http`` serves
load-balanced endpoints, ``report`` describes failures, ``output`` carries what is printed.
"""
