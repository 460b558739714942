use std::collections::HashSet;
use std::net::{Ipv4Addr, TcpListener};

use super::*;

const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const LOOP: Monitoring = Monitoring::Loop { port: 5 };
const ECHO: Monitoring = Monitoring::Echo { port: 5, echo: 7 };

#[test]
fn what_ssh_is_given() {
    assert!(Ports::new(Monitoring::Off).is_none());
    for (monitoring, answers, expected) in [
        (LOOP, Some("127.0.0.1:6"), "-L 5:127.0.0.1:5 -R 5:127.0.0.1:6"),
        (LOOP, Some("[::1]:6"), "-L 5:127.0.0.1:5 -R 5:[::1]:6"),
        (ECHO, None, "-L 5:127.0.0.1:7"),
    ] {
        let answers = answers.map(|address| address.parse().unwrap());
        let args = Ports::new(monitoring).unwrap().forwards(HERE, answers).unwrap();
        assert_eq!(args.join(" ".as_ref()), expected, "{monitoring:?}");
    }
}

#[test]
fn the_ports_of_each_way_to_monitor() {
    for (monitoring, answers, picked, local, remote) in [
        (LOOP, Some(6), false, Some(5), Some(5)),
        (ECHO, None, false, Some(5), None),
        (Monitoring::Automatic, None, true, None, None),
    ] {
        let ports = Ports::new(monitoring).unwrap();
        assert_eq!((ports.answer_port(), ports.are_picked()), (answers, picked), "{monitoring:?}");
        assert_eq!((ports.local(), ports.remote()), (local, remote), "{monitoring:?}");
    }
}

#[test]
fn automatic_ports_are_picked_for_each_ssh() {
    let mut ports = Ports::new(Monitoring::Automatic).unwrap();
    let mut picked = HashSet::new();
    for _ in 0..50 {
        let answers = "127.0.0.1:6".parse().unwrap();
        let args = ports.forwards(HERE, Some(answers)).unwrap();
        let (local, remote) = (ports.local().unwrap(), ports.remote().unwrap());
        let expected = format!("-L {local}:127.0.0.1:{remote} -R {remote}:127.0.0.1:6");
        assert_eq!(args.join(" ".as_ref()), expected.as_str());
        assert!((PICK_FROM..=PICK_TO).contains(&local) && (PICK_FROM..=PICK_TO).contains(&remote), "{expected}");
        picked.extend([local, remote]);
        ports.release();
        assert_eq!((ports.local(), ports.remote()), (None, None));
    }
    assert!(picked.len() > 50, "{picked:?}");
}

#[test]
#[cfg(all(target_os = "linux", not(portable)))]
fn picked_ports_are_kept_from_other_autossh_until_ssh_has_them() {
    let mut ports = Ports::new(Monitoring::Automatic).unwrap();
    ports.forwards(HERE, None).unwrap();
    for port in [ports.local().unwrap(), ports.remote().unwrap()] {
        let address = SocketAddr::new(HERE, port);
        assert_eq!(reserve(address).err(), Some(Errno::EADDRINUSE));
        assert!(bind_like_ssh(address).is_ok());
    }
    ports.release_reservations();
    for port in [ports.local().unwrap(), ports.remote().unwrap()] {
        assert!(reserve(SocketAddr::new(HERE, port)).is_ok());
    }
}

#[test]
#[cfg(all(target_os = "linux", not(portable)))]
fn ports_that_are_taken_are_passed_over() {
    let taken: Vec<Pick> = (0..200).map(|_| pick(HERE).unwrap()).collect();
    // About nine of these come upon one.
    for _ in 0..1000 {
        let port = pick(HERE).unwrap().port;
        assert!(taken.iter().all(|other| other.port != port));
    }
}

#[test]
fn a_given_port_is_free_unless_somebody_listens_there() {
    let picked = pick(HERE).unwrap();
    let port = picked.port;
    assert_eq!(Ports::Loop { port }.local_is_free(HERE), Ok(()));
    let _listener = TcpListener::bind((HERE, port)).unwrap();
    assert_eq!(Ports::Loop { port }.local_is_free(HERE), Err(port));
    assert_eq!(Ports::Echo { port, echo: 7 }.local_is_free(HERE), Err(port));
    assert_eq!(Ports::Automatic(None).local_is_free(HERE), Ok(()));
}

#[test]
fn an_address_that_is_not_here_has_no_ports() {
    assert_eq!(pick(IpAddr::from([192, 0, 2, 1])).unwrap_err().raw_os_error(), Some(Errno::EADDRNOTAVAIL as i32));
}
