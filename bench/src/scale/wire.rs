//! Clients over sockets: each sends a request, waits for the answer, and sends it again where none comes.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use super::clients::{self, Answer, Ask, User, Users};
use super::lab::Lab;

/// How long an answer may take before the request is sent again (RFC 8489 section 6.2.1).
const RETRY: Duration = Duration::from_millis(500);

/// Clients of which each waits for an answer, when as many as possible are to come in.
const WINDOW: usize = 64;

/// Clients of one server.
pub(super) struct Clients<'l> {
    lab: &'l Lab,
    of: Vec<Client>,
    /// What was sent, oldest first: when, by whom, and which of its requests. Most were answered.
    sent: VecDeque<(Instant, u32, u32)>,
    datagram: Vec<u8>,
    /// Requests that were sent again for want of an answer.
    pub(super) repeated: u64,
    /// Requests refused.
    pub(super) refused: u64,
}

struct Client {
    user: User,
    nonce: Vec<u8>,
    serial: u32,
    /// What it waits for, and since when.
    asked: Option<(Ask, Instant)>,
}

/// What came of a request.
pub(super) struct Done {
    pub(super) client: u32,
    pub(super) ask: Ask,
    /// The error, if it was not granted.
    pub(super) refusal: Option<String>,
    /// From the first sending to the last answer.
    pub(super) took: Duration,
}

impl<'l> Clients<'l> {
    /// So many clients of one server.
    pub(super) fn new(lab: &'l Lab, users: Users, count: u32) -> Self {
        let client = |n| Client { user: users.of(n), nonce: Vec::new(), serial: 0, asked: None };
        Self {
            lab,
            of: (0..count).map(client).collect(),
            sent: VecDeque::new(),
            datagram: Vec::new(),
            repeated: 0,
            refused: 0,
        }
    }

    /// Whether a client waits for an answer.
    pub(super) fn is_busy(&self, n: u32) -> bool {
        self.of[n as usize].asked.is_some()
    }

    /// Sends a client's request.
    pub(super) fn ask(&mut self, n: u32, ask: Ask) -> Result<()> {
        let client = &mut self.of[n as usize];
        client.asked = Some((ask, Instant::now()));
        client.serial += 1;
        self.send(n)
    }

    /// Sends what a client asks for. Once more for want of an answer it is the same transaction (RFC 8489 section 6.2.1), or an
    /// Allocate that was granted, by an answer that comes late, would be a second one (437).
    fn send(&mut self, n: u32) -> Result<()> {
        let client = &self.of[n as usize];
        let Some((ask, _)) = client.asked else { return Ok(()) };
        let with = (!client.nonce.is_empty()).then_some((&client.user, &client.nonce[..]));
        ask.write(n, client.serial, with, &mut self.datagram);
        self.sent.push_back((Instant::now(), n, client.serial));
        self.lab.send(clients::client(n), &self.datagram)
    }

    /// Takes the answers that are there, answers challenges, and sends again what got no answer in time.
    pub(super) fn receive(&mut self, done: &mut Vec<Done>) -> Result<()> {
        let mut buffer = [0; 2048];
        while let Some(datagram) = self.lab.receive(&mut buffer) {
            let Some(answer) = Answer::read(datagram) else { continue };
            let (n, client) = (answer.client, &mut self.of[answer.client as usize]);
            // Otherwise it is a second answer, to a request that was sent twice.
            let Some((ask, since)) = client.asked.filter(|_| client.serial == answer.serial) else {
                continue;
            };
            if let Some(nonce) = answer.nonce() {
                nonce.clone_into(&mut client.nonce);
                client.serial += 1;
                self.send(n)?;
                continue;
            }
            client.asked = None;
            let refusal = answer.refusal();
            self.refused += u64::from(refusal.is_some());
            done.push(Done { client: n, ask, refusal, took: since.elapsed() });
        }
        while let Some((_, n, serial)) = self.sent.front().copied().filter(|(at, ..)| at.elapsed() > RETRY) {
            self.sent.pop_front();
            let client = &self.of[n as usize];
            if client.serial == serial && client.asked.is_some() {
                self.repeated += 1;
                self.send(n)?;
            }
        }
        Ok(())
    }

    /// Has every client of a range make these requests, one after the other, and tells how long that took.
    pub(super) fn all(&mut self, range: std::ops::Range<u32>, asks: &[Ask]) -> Result<Duration> {
        let start = Instant::now();
        let (mut coming, mut in_there, mut done) = (range, 0, Vec::new());
        // How many of its requests a client has made.
        let mut made = vec![0_u8; self.of.len()];
        loop {
            while in_there < WINDOW
                && let Some(n) = coming.next()
            {
                self.ask(n, asks[0])?;
                in_there += 1;
            }
            if in_there == 0 {
                return Ok(start.elapsed());
            }
            self.lab.wait()?;
            self.receive(&mut done)?;
            for Done { client, ask, refusal, .. } in done.drain(..) {
                if let Some(refusal) = refusal {
                    bail!("{ask:?} of client {client} is refused: {refusal}");
                }
                made[client as usize] += 1;
                match asks.get(usize::from(made[client as usize])) {
                    Some(&next) => self.ask(client, next)?,
                    None => in_there -= 1,
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use nix::sys::signal::{Signal, kill};
    use nix::unistd::geteuid;

    use super::*;
    use crate::scale::Mode;

    #[test]
    fn who_is_answered_late_is_not_taken_for_somebody_else() {
        if !geteuid().is_root() {
            eprintln!("NOT RUN: the lab is made of network namespaces, which needs root");
            return;
        }
        let lab = Lab::start(Mode::Userspace, 200, 1).expect("a lab");
        let mut clients = Clients::new(&lab, Users::OneStatic, 200);
        // The nonces: what is stopped below is what has credentials.
        clients.all(0..200, &[Ask::Allocate, Ask::End]).expect("allocations");
        kill(lab.pid(), Signal::SIGSTOP).expect("it is there");
        let asked = thread::scope(|scope| {
            scope.spawn(|| {
                thread::sleep(3 * RETRY);
                kill(lab.pid(), Signal::SIGCONT).expect("it is there");
            });
            clients.all(0..200, &[Ask::Allocate, Ask::Bind(0), Ask::End])
        });
        asked.expect("everything is granted");
        assert!(clients.repeated > 0, "nothing was sent twice");
    }
}
