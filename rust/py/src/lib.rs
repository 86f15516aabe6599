//! Thin Python bindings of procq-core: the module `procq._core`, documented in `_core.pyi`.

mod link;

use procq_core::contain::{Lack, Place};
use procq_core::{host as hosting, image, pattern, proto::messages, sys};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use std::ffi::OsString;

#[pymodule]
fn _core(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("PROTOCOL", messages::VERSION)?;
    module.add("VERSION", env!("CARGO_PKG_VERSION"))?;
    module.add_class::<link::Link>()?;
    module.add_function(wrap_pyfunction!(usage, module)?)?;
    module.add_function(wrap_pyfunction!(containment, module)?)?;
    module.add_function(wrap_pyfunction!(check_pattern, module)?)?;
    module.add_function(wrap_pyfunction!(resume, module)?)?;
    module.add_function(wrap_pyfunction!(host, module)?)
}

#[pyfunction]
fn usage(py: Python<'_>, roots: Vec<(i32, u64)>) -> Vec<(f64, u64, u32, u64)> {
    let roots: Vec<_> = roots.into_iter().map(|(pid, limit)| sys::Root { pid, limit }).collect();
    let found = py.detach(|| sys::usage(&roots));
    found.into_iter().map(|usage| (usage.cpu, usage.memory, usage.processes, usage.threads)).collect()
}

#[pyfunction]
fn check_pattern(text: &str) -> Option<(String, Option<(usize, usize)>)> {
    pattern::compile(text).err().map(|error| (error.why, error.place))
}

#[pyfunction]
fn containment() -> (Option<String>, Option<&'static str>, String, Vec<String>) {
    let place = Place::find();
    let cgroup = place.own.as_ref().map(|own| own.path().display().to_string());
    let why = place.lack.map_or_else(String::new, |lack| lack.to_string());
    (cgroup, place.lack.map(Lack::word), why, place.controllers())
}

#[pyfunction]
fn resume(words: Vec<OsString>) -> PyResult<()> {
    image::again(words)
}

#[pyfunction]
fn host(config: &Bound<'_, PyAny>) -> PyResult<()> {
    let config = pythonize::depythonize(config).map_err(|error| PyValueError::new_err(error.to_string()))?;
    hosting::run(config)
}
