//! Python bindings of procq-core.
use pyo3::prelude::*;

#[pymodule]
mod _core {}
