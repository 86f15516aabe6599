//! Thin Python bindings of procq-core: the module `procq._core`, documented in `_core.pyi`.

mod link;

use procq_core::{host as hosting, proto::messages};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

#[pymodule]
fn _core(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("PROTOCOL", messages::VERSION)?;
    module.add_class::<link::Link>()?;
    module.add_function(wrap_pyfunction!(host, module)?)
}

#[pyfunction]
fn host(config: &Bound<'_, PyAny>) -> PyResult<()> {
    let config = pythonize::depythonize(config).map_err(|error| PyValueError::new_err(error.to_string()))?;
    hosting::run(config)
}
