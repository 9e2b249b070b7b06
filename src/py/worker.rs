//! The worker process's side of Python.
