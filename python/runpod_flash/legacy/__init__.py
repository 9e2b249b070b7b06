"""What 1.21 has beside ``Endpoint``: resource classes, ``remote``, ``FlashApp`` and helpers.

Loaded when it is touched, by the names of the package or by a path of ``_official``.
"""
