//! autossh(1), THE NETWORK: a session whose local address is gone is restarted at once, and no other.

use std::io::Read;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::case;
use crate::harness::{Autossh, Hosts, Running, Server, inside, listens, pass, wait_for, wait_within};

const GONE: &str = "the address 10.99.0.1 that ssh was connected from is gone, restarting ssh";

fn lab() -> Option<(Hosts, Server)> {
    let hosts = Hosts::new()?;
    let server = Server::on(&hosts, "ClientAliveInterval 1\nClientAliveCountMax 3")?;
    Some((hosts, server))
}

fn autossh(server: &Server, args: &str) -> Autossh {
    let args: Vec<&str> = args.split(' ').collect();
    server.autossh(&args).env("AUTOSSH_GATETIME", "0").env("AUTOSSH_DEBUG", "1")
}

/// Starts it, and waits for a session and until autossh has had the time to see its connection.
fn start(server: &Server, args: &str) -> Running {
    let running = autossh(server, args).start();
    wait_for("the forward", || server.listens(2200).then_some(()));
    pass(2);
    running
}

/// The client gets another address in the same network, as from another DHCP server.
fn move_client(hosts: &Hosts) -> Instant {
    hosts.on_client("ip addr del 10.99.0.1/24 dev wire-c");
    hosts.on_client("ip addr add 10.99.0.7/24 dev wire-c");
    Instant::now()
}

/// The client moves, and so does its session.
fn follows(args: &str) {
    let Some((hosts, server)) = lab() else { return };
    let running = start(&server, args);
    let moved = move_client(&hosts);
    wait_within(Duration::from_secs(20), "the next ssh", || (running.starts().len() > 1).then_some(()));
    assert!(moved.elapsed() < Duration::from_secs(15), "{:?}", moved.elapsed());
    assert_eq!(running.logged(GONE), 1, "{}", running.story());
    // As soon as the server has noticed too, or sooner.
    wait_within(Duration::from_secs(40), "the forward", || {
        let last = running.log().rfind("is refused").unwrap_or_default();
        (server.listens(2200) && last <= running.log().rfind("ssh child pid").unwrap_or_default()).then_some(())
    });
}

case!(a_session_follows_to_another_address, Beyond, {
    follows("-M 20000 -N -R 2200:localhost:22 HOST");
});

case!(a_session_without_a_monitor_follows_to_another_address, Beyond, {
    follows("-M 0 -N -R 2200:localhost:22 HOST");
});

case!(a_session_through_a_jump_host_follows_to_another_address, Beyond, {
    follows("-M 0 -N -R 2200:localhost:22 -J HOST HOST");
});

case!(a_session_through_a_proxy_command_follows_to_another_address, Beyond, {
    let Some((hosts, server)) = lab() else { return };
    // The connection is a grandchild's.
    let proxy = format!(
        "ProxyCommand=sh -c '/usr/bin/ssh -F {} -W [%h]:%p 10.99.0.2; true'",
        server.path("ssh-config").display()
    );
    let args = ["-M", "0", "-N", "-R", "2200:localhost:22", "-o", &proxy, "HOST"];
    let running = server.autossh(&args).env("AUTOSSH_GATETIME", "0").start();
    wait_for("the forward", || server.listens(2200).then_some(()));
    pass(2);
    move_client(&hosts);
    running.wait_start(2);
    assert_eq!(running.logged(GONE), 1, "{}", running.story());
});

case!(a_session_with_a_command_is_left_alone_without_a_monitor, Beyond, {
    let Some((hosts, server)) = lab() else { return };
    let args = ["-M", "0", "-R", "2200:localhost:22", "HOST", "sleep 1000"];
    let running = server.autossh(&args).env("AUTOSSH_GATETIME", "0").start();
    wait_for("the forward", || server.listens(2200).then_some(()));
    pass(2);
    move_client(&hosts);
    pass(8);
    assert_eq!((running.starts().len(), running.logged(GONE)), (1, 0), "{}", running.story());
});

case!(nobody_looks_where_the_network_is_not_watched, Beyond, {
    let Some((hosts, server)) = lab() else { return };
    let running = autossh(&server, "-M 0 -N -R 2200:localhost:22 HOST").env("AUTOSSH_NETWATCH", "no").start();
    wait_for("the forward", || server.listens(2200).then_some(()));
    pass(2);
    move_client(&hosts);
    pass(8);
    assert_eq!((running.starts().len(), running.logged(GONE)), (1, 0), "{}", running.story());
});

case!(an_address_that_comes_back_is_no_loss, Beyond, {
    let Some((hosts, server)) = lab() else { return };
    let running = start(&server, "-M 20000 -N -R 2200:localhost:22 HOST");
    // As after a link that was down: another way is there first, and then DHCP brings the old address.
    hosts.on_client("ip addr del 10.99.0.1/24 dev wire-c");
    hosts.on_client("ip addr add 10.98.0.1/24 dev wire-c");
    hosts.on_client("ip route add 10.99.0.2 dev wire-c src 10.98.0.1");
    pass(2);
    hosts.on_client("ip addr add 10.99.0.1/24 dev wire-c");
    pass(6);
    running.signal(Signal::SIGALRM);
    running.wait_log("connection ok");
    assert_eq!((running.starts().len(), running.logged(GONE)), (1, 0), "{}", running.story());
});

case!(an_address_without_a_way_to_the_server_proves_nothing, Beyond, {
    let Some((hosts, server)) = lab() else { return };
    let running = start(&server, "-M 0 -N -R 2200:localhost:22 HOST");
    hosts.on_client("ip addr del 10.99.0.1/24 dev wire-c");
    hosts.on_client("ip addr add 10.98.0.1/24 dev wire-c");
    pass(8);
    assert_eq!((running.starts().len(), running.logged(GONE)), (1, 0), "{}", running.story());
});

case!(an_ipv6_address_that_is_being_checked_for_duplicates_is_no_loss, Beyond, {
    let Some(hosts) = Hosts::new() else { return };
    hosts.on_server("ip addr add fd00:99::2/64 dev wire-s nodad");
    hosts.on_client("ip addr add fd00:99::1/64 dev wire-c nodad");
    let Some(server) = Server::at(&hosts, "fd00:99::2", "") else { return };
    let running = start(&server, "-M 20000 -N -R 2200:localhost:22 HOST");
    // The address goes with the link, and is tentative for a second or two when it comes back.
    hosts.on_client("ip link set wire-c down");
    hosts.on_client("ip link set wire-c up");
    hosts.on_client("ip addr add fd00:99::7/64 dev wire-c nodad");
    hosts.on_client("ip addr add fd00:99::1/64 dev wire-c");
    pass(8);
    running.signal(Signal::SIGALRM);
    running.wait_log("connection ok");
    assert_eq!(running.starts().len(), 1, "{}", running.story());
});

case!(an_ipv6_session_follows_to_another_address, Beyond, {
    let Some(hosts) = Hosts::new() else { return };
    hosts.on_server("ip addr add fd00:99::2/64 dev wire-s nodad");
    hosts.on_client("ip addr add fd00:99::1/64 dev wire-c nodad");
    let Some(server) = Server::at(&hosts, "fd00:99::2", "") else { return };
    let running = start(&server, "-M 0 -N -R 2200:localhost:22 HOST");
    // As a temporary address that has expired.
    hosts.on_client("ip addr add fd00:99::7/64 dev wire-c nodad");
    hosts.on_client("ip addr del fd00:99::1/64 dev wire-c");
    hosts.on_client("ip addr add fd00:99::8/64 dev wire-c nodad");
    running.wait_start(2);
    assert_eq!(running.logged("the address fd00:99::1 that ssh was connected from is gone"), 1, "{}", running.story());
});

case!(the_address_of_a_forward_is_not_that_of_the_session, Beyond, {
    let Some((hosts, server)) = lab() else { return };
    hosts.on_client("ip link add bridge type veth peer name port");
    hosts.on_client("ip link set bridge up");
    hosts.on_client("ip addr add 10.97.0.1/24 dev bridge");
    let running = start(&server, "-M 0 -N -R 2200:localhost:22 -L 10.97.0.1:8080:10.99.0.2:2222 HOST");
    // Somebody on the bridge uses a forward.
    let _stream = inside(&hosts.client(), || {
        let mut stream = TcpStream::connect(("10.97.0.1", 8080)).unwrap();
        stream.read_exact(&mut [0; 4]).unwrap();
        stream
    });
    hosts.on_client("ip addr del 10.97.0.1/24 dev bridge");
    hosts.on_client("ip addr add 10.97.0.2/24 dev bridge");
    pass(8);
    assert_eq!(running.starts().len(), 1, "{}", running.story());
});

case!(a_login_under_way_survives_changes_of_the_network, Beyond, {
    let Some((hosts, server)) = lab() else { return };
    // The connection is there, but nobody answers it for six seconds.
    server.signal(Signal::SIGSTOP);
    let running = autossh(&server, "-M 20000 -N -o ConnectTimeout=30 -R 2200:localhost:22 HOST").start();
    running.wait_start(1);
    pass(2);
    hosts.on_client("ip addr add 10.98.0.1/24 dev wire-c");
    pass(4);
    server.signal(Signal::SIGCONT);
    let ssh = running.starts()[0].pid;
    wait_for("ssh to forward", || listens(ssh, 20000).then_some(()));
    wait_for("the forward", || server.listens(2200).then_some(()));
    running.signal(Signal::SIGALRM);
    running.wait_log("connection ok");
    assert_eq!((running.starts().len(), running.logged("port down")), (1, 0), "{}", running.story());
});
