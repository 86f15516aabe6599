//! Thin Python bindings of procq-core: the module `procq._core`, documented in `_core.pyi`.

mod link;

use procq_core::{host as hosting, pattern, proto::messages, sys::process};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

#[pymodule]
fn _core(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("PROTOCOL", messages::VERSION)?;
    module.add("VERSION", env!("CARGO_PKG_VERSION"))?;
    module.add_class::<link::Link>()?;
    module.add_function(wrap_pyfunction!(usage, module)?)?;
    module.add_function(wrap_pyfunction!(check_pattern, module)?)?;
    module.add_function(wrap_pyfunction!(host, module)?)
}

#[pyfunction]
fn usage(py: Python<'_>, pids: Vec<i32>) -> Vec<(f64, u64, u32)> {
    let found = py.detach(|| process::usage(&pids));
    found.into_iter().map(|usage| (usage.cpu, usage.memory, usage.processes)).collect()
}

#[pyfunction]
fn check_pattern(text: &str) -> Option<(String, Option<(usize, usize)>)> {
    pattern::compile(text).err().map(|error| (error.why, error.place))
}

#[pyfunction]
fn host(config: &Bound<'_, PyAny>) -> PyResult<()> {
    let config = pythonize::depythonize(config).map_err(|error| PyValueError::new_err(error.to_string()))?;
    hosting::run(config)
}
