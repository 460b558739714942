//! Relays between the monitor port and the listener.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

/// How one connection is served.
#[derive(Clone, Copy)]
enum How {
    /// As it should be.
    Sound,
    /// As it should be, 100 ms later.
    Late,
    /// One byte comes back as another.
    Garbled,
    /// Half of the bytes come back.
    Half,
    /// Half of the bytes come back, then the connection closes.
    Cut,
    /// Nothing comes back.
    Silent,
    /// The connection is closed.
    Closed,
}

/// Serves the port of our `-L` without end. `hows` says how, connection by connection, the last for all that follow:
/// `sound`, `late`, `garbled`, `half`, `cut`, `silent`, `closed`. With a `-R` among our arguments what is sent comes back on a
/// connection to its target, else on the same one.
pub fn serve(hows: &str) {
    let words: Vec<String> = std::env::args().collect();
    let value = |option: &str| words.iter().position(|word| word == option).map(|place| words[place + 1].clone());
    let local = value("-L").expect("no -L");
    let port: u16 = local.split(':').next().unwrap().parse().unwrap();
    let target = value("-R").map(|remote| remote.split_once(':').unwrap().1.parse::<SocketAddr>().unwrap());
    let six = target.is_some_and(|target| target.is_ipv6()) || words.iter().any(|word| word == "-6");
    let loopback = if six { IpAddr::V6(Ipv6Addr::LOCALHOST) } else { IpAddr::V4(Ipv4Addr::LOCALHOST) };
    let listener = TcpListener::bind((loopback, port)).expect("cannot listen on the port of -L");

    let hows: Vec<How> = hows
        .split_whitespace()
        .map(|how| match how {
            "sound" => How::Sound,
            "late" => How::Late,
            "garbled" => How::Garbled,
            "half" => How::Half,
            "cut" => How::Cut,
            "silent" => How::Silent,
            "closed" => How::Closed,
            _ => panic!("no such way to relay: {how}"),
        })
        .collect();
    for (count, stream) in listener.incoming().enumerate() {
        let how = *hows.get(count).or(hows.last()).expect("no way to relay");
        let stream = stream.unwrap();
        thread::spawn(move || pass(stream, target, how));
    }
}

/// Passes on what comes from `from`.
fn pass(mut from: TcpStream, target: Option<SocketAddr>, how: How) {
    if matches!(how, How::Closed) {
        return;
    }
    let mut to = match target {
        _ if matches!(how, How::Silent) => None,
        Some(target) => Some(TcpStream::connect(target).unwrap()),
        None => Some(from.try_clone().unwrap()),
    };
    let mut buffer = [0; 1024];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        let Some(to) = &mut to else { continue };
        if matches!(how, How::Late) {
            thread::sleep(Duration::from_millis(100));
        }
        match how {
            How::Sound | How::Late => {
                // In two pieces, as a network may deliver it.
                let _ = to.write_all(&buffer[..count / 2]).and_then(|()| to.write_all(&buffer[count / 2..count]));
            }
            How::Garbled => {
                buffer[count / 2] ^= 1;
                let _ = to.write_all(&buffer[..count]);
            }
            How::Half => {
                let _ = to.write_all(&buffer[..count / 2]);
            }
            How::Cut => {
                let _ = to.write_all(&buffer[..count / 2]);
                let _ = to.shutdown(Shutdown::Both);
            }
            How::Silent | How::Closed => {}
        }
    }
}
