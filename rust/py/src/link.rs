//! One end of a conversation with a keeper.

use procq_core::proto::messages::{Command, Event, Reply, Request};
use procq_core::proto::{Channel, ChannelError};
use procq_core::sys::{adopt_fd, Interest, Poller};
use pyo3::exceptions::{PyConnectionError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyList;
use serde::de::DeserializeOwned;
use serde::Serialize;
use std::os::fd::{AsFd, AsRawFd};

/// Bytes read in one call, so that one wake-up never takes long.
const BUDGET: usize = 1 << 20;
const TOKEN: u64 = 0;

#[derive(Clone, Copy)]
enum Role {
    Control,
    Client,
}

struct Open {
    /// Readable when the socket is, or when it has room for what waits: one descriptor for both directions.
    poller: Poller,
    channel: Channel,
}

#[pyclass(module = "procq._core")]
pub struct Link {
    role: Role,
    open: Option<Open>,
}

#[pymethods]
impl Link {
    #[new]
    fn new(fd: i32, role: &str) -> PyResult<Link> {
        let role = match role {
            "control" => Role::Control,
            "client" => Role::Client,
            other => return Err(PyValueError::new_err(format!("no such role: {other:?}; \"control\" or \"client\""))),
        };
        let channel = Channel::new(adopt_fd(fd)?)?;
        let poller = Poller::new()?;
        poller.add(channel.as_fd(), TOKEN, Interest::Read)?;
        Ok(Link { role, open: Some(Open { poller, channel }) })
    }

    fn fileno(&mut self) -> PyResult<i32> {
        Ok(self.open()?.poller.as_fd().as_raw_fd())
    }

    fn send(&mut self, messages: &Bound<'_, PyAny>) -> PyResult<()> {
        let role = self.role;
        let open = self.open()?;
        match role {
            Role::Control => push_all::<Command>(&mut open.channel, messages),
            Role::Client => push_all::<Request>(&mut open.channel, messages),
        }?;
        open.channel.flush_with(&open.poller, TOKEN).map_err(to_python)?;
        Ok(())
    }

    fn drain<'py>(&mut self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let role = self.role;
        let open = self.open()?;
        open.channel.fill(BUDGET).map_err(to_python)?;
        let messages = PyList::empty(py);
        let end = match role {
            Role::Control => pull_all::<Event>(&mut open.channel, &messages)?,
            Role::Client => pull_all::<Reply>(&mut open.channel, &messages)?,
        };
        // The end of the stream is told once everything before it has been handed out.
        match end.or_else(|| open.channel.flush_with(&open.poller, TOKEN).err()) {
            Some(error) if messages.is_empty() => Err(to_python(error)),
            _ => Ok(messages),
        }
    }

    fn pending(&mut self) -> PyResult<usize> {
        Ok(self.open()?.channel.pending())
    }

    fn close(&mut self) {
        self.open = None;
    }
}

impl Link {
    fn open(&mut self) -> PyResult<&mut Open> {
        self.open.as_mut().ok_or_else(|| PyValueError::new_err("the link is closed"))
    }
}

/// All are checked before one is queued.
fn push_all<T: DeserializeOwned + Serialize>(channel: &mut Channel, messages: &Bound<'_, PyAny>) -> PyResult<()> {
    let parse = |message: PyResult<Bound<'_, PyAny>>| {
        pythonize::depythonize::<T>(&message?).map_err(|error| PyValueError::new_err(format!("not a message: {error}")))
    };
    let parsed = messages.try_iter()?.map(parse).collect::<PyResult<Vec<T>>>()?;
    parsed
        .iter()
        .try_for_each(|message| channel.push(message).map_err(|error| PyValueError::new_err(error.to_string())))
}

/// Hands out what has arrived; returns why no more will.
fn pull_all<T: DeserializeOwned + Serialize>(
    channel: &mut Channel,
    messages: &Bound<'_, PyList>,
) -> PyResult<Option<ChannelError>> {
    loop {
        match channel.receive::<T>() {
            Ok(Some(message)) => {
                let message = pythonize::pythonize(messages.py(), &message);
                messages.append(message.map_err(|error| PyValueError::new_err(error.to_string()))?)?;
            }
            Ok(None) => return Ok(None),
            Err(error) => return Ok(Some(error)),
        }
    }
}

fn to_python(error: ChannelError) -> PyErr {
    match error {
        ChannelError::Closed => PyConnectionError::new_err("the connection to the keeper is closed"),
        ChannelError::Frame(error) => PyValueError::new_err(error.to_string()),
        ChannelError::Io(error) => error.into(),
    }
}
