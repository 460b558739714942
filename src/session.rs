//! An ssh that has been started and not yet reaped: its pid, the result of its start, and its own connection.

use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use autossh_core::event::{ChildExit, Event};
use autossh_core::link::Link;
use nix::errno::Errno;
use nix::unistd::Pid;

use crate::ssh::connection::{self, Connection, Found};
use crate::ssh::spawn::{Child, ExecPipe, ExecReport};
use crate::text::error_text;

/// One ssh, from its fork until it is reaped.
#[derive(Debug)]
pub struct Session {
    pid: Pid,
    /// It has not been executed yet, as far as is known.
    exec: Option<ExecPipe>,
    /// Why it could not be executed; it is about to exit.
    failed: Option<Errno>,
    connection: Option<Connection>,
}

impl Session {
    /// The session of a child that has just been forked.
    pub fn new(child: &mut Child) -> Session {
        Session { pid: child.pid, exec: child.exec.take(), failed: None, connection: None }
    }

    /// The pid of ssh.
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// Becomes readable when there is a report about its start.
    pub fn start_fd(&self) -> Option<BorrowedFd<'_>> {
        self.exec.as_ref().map(AsFd::as_fd)
    }

    /// Reads the result of its start. Returns why ssh was started in `/`, if it was.
    pub fn read_start(&mut self, events: &mut Vec<Event>) -> Option<Errno> {
        let mut lost_directory = None;
        while let Some(report) = self.exec.as_mut().and_then(ExecPipe::read) {
            match report {
                ExecReport::LostDirectory(errno) => lost_directory = Some(errno),
                ExecReport::Failed(errno) => self.failed = Some(errno),
                ExecReport::Closed => {
                    self.exec = None;
                    if self.failed.is_none() {
                        events.push(Event::Started(self.pid.as_raw()));
                    }
                }
            }
        }
        lost_directory
    }

    /// Looks for its own connection.
    pub fn find_link(&mut self) -> Link {
        match Connection::find(self.pid) {
            Found::Tcp(connection) => {
                self.connection.get_or_insert(connection);
                Link::Established
            }
            Found::Shared(Some(connection)) => {
                self.connection.get_or_insert(connection);
                Link::Master
            }
            Found::Shared(None) => Link::Shared,
            Found::Unknown if connection::are_visible(self.pid) => Link::None,
            Found::Unknown => Link::Unknown,
        }
    }

    /// The local address of its connection, if that is gone.
    pub fn lost_address(&self) -> Option<String> {
        let connection = self.connection.filter(Connection::address_is_gone)?;
        Some(connection.local.ip().to_string())
    }

    /// It has been reaped; `said` is the last line of its stderr.
    pub fn reaped(mut self, exit: ChildExit, said: Option<String>, program: &Path, events: &mut Vec<Event>) {
        let mut started = Vec::new();
        self.read_start(&mut started);
        match (self.failed, exit) {
            (Some(errno), _) => {
                events.push(Event::NotStarted(format!("{program:?}: {}", error_text(&errno.into()))));
            }
            (None, ChildExit::Status(_)) => {
                events.append(&mut started);
                events.push(Event::ChildExited(exit, said));
            }
            // An exit status comes from the program; a child that was killed may not have executed it.
            (None, ChildExit::Signal(_)) => events.push(Event::ChildExited(exit, said)),
        }
    }
}
