//! The users' own bytes: a stream through each tunnel, and the services that send them back.

use std::io::{Read, Result, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::harness::{enter, inside};

/// The port of the services.
pub const ECHO: u16 = 7;
/// A stream without bytes for this time counts as cut.
const CUT: Duration = Duration::from_millis(500);

/// A stream through a tunnel.
pub struct Stream {
    began: Instant,
    /// Bytes that have come back right.
    bytes: AtomicU64,
    /// When the first of them came since the stream was cut, and when the last, in ms since `began`; 0: none yet.
    resumed: AtomicU64,
    last: AtomicU64,
    /// Others have come back than were sent.
    wrong: AtomicBool,
}

impl Stream {
    /// Sends blocks through the tunnel that begins at this port in this network namespace, without end, and compares what
    /// comes back.
    pub fn through(port: u16, namespace: String) -> Arc<Stream> {
        let stream = Arc::new(Stream {
            began: Instant::now(),
            bytes: AtomicU64::new(0),
            resumed: AtomicU64::new(0),
            last: AtomicU64::new(0),
            wrong: AtomicBool::new(false),
        });
        let ours = Arc::clone(&stream);
        thread::spawn(move || {
            enter(&namespace);
            let mut block = vec![0; 8_000];
            for round in 0_u64.. {
                // A connection for some blocks, as applications use them.
                let _ = ours.talk(port, &mut block, round);
                thread::sleep(Duration::from_millis(20));
            }
        });
        stream
    }

    fn talk(&self, port: u16, block: &mut [u8], round: u64) -> Result<()> {
        const LIMIT: Duration = Duration::from_secs(1);
        let mut connection = TcpStream::connect_timeout(&SocketAddr::from(([127, 0, 0, 1], port)), LIMIT)?;
        connection.set_read_timeout(Some(LIMIT))?;
        connection.set_write_timeout(Some(LIMIT))?;
        let mut back = vec![0; block.len()];
        for number in 0..200_u64 {
            let mut state = round.wrapping_mul(1_000_003) ^ number;
            for byte in &mut *block {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                *byte = state.to_be_bytes()[0];
            }
            connection.write_all(block)?;
            connection.read_exact(&mut back)?;
            if back != block {
                self.wrong.store(true, Ordering::Relaxed);
            }
            self.bytes.fetch_add(block.len() as u64, Ordering::Relaxed);
            let now = u64::try_from(self.began.elapsed().as_millis()).unwrap();
            let last = self.last.load(Ordering::Relaxed);
            if last == 0 || Duration::from_millis(now - last) > CUT {
                self.resumed.store(now, Ordering::Relaxed);
            }
            self.last.store(now, Ordering::Relaxed);
            thread::sleep(Duration::from_millis(15));
        }
        Ok(())
    }

    /// Since when bytes have come back, if they do. Each of them must have been right.
    pub fn flowing_since(&self) -> Option<Instant> {
        assert!(!self.wrong.load(Ordering::Relaxed), "a byte has changed on its way");
        let at = |time: &AtomicU64| self.began + Duration::from_millis(time.load(Ordering::Relaxed));
        let flows = self.last.load(Ordering::Relaxed) > 0 && at(&self.last).elapsed() < CUT;
        flows.then(|| at(&self.resumed))
    }

    /// How many bytes have come back.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }
}

/// A service in this network namespace that sends back what comes.
pub fn echo(namespace: &str) {
    let listener = inside(namespace, || TcpListener::bind(("127.0.0.1", ECHO)).unwrap());
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            thread::spawn(move || {
                let mut buffer = [0; 16_384];
                while let Ok(count @ 1..) = stream.read(&mut buffer) {
                    if stream.write_all(&buffer[..count]).is_err() {
                        return;
                    }
                }
            });
        }
    });
}
