use super::*;

const START: Time = secs(1_000_000);

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

const ADDRESS: &str = "192.0.2.1";

/// A connection that was established at [`START`].
fn established() -> LinkWatch {
    let mut link = LinkWatch::new(START);
    link.seen(Link::Established, START);
    link
}

#[test]
fn looks_grow_rare_until_the_connection_is_there() {
    let mut link = LinkWatch::new(START);
    let mut millis = Vec::new();
    while let Some(at) = link.due() {
        assert_eq!(link.take(at.saturating_sub(Duration::from_nanos(1))), None);
        assert_eq!(link.take(at), Some(Due::Look));
        link.seen(Link::None, at);
        millis.push(at.saturating_sub(START).as_millis());
    }
    assert_eq!(millis, [200, 1000, 4200, 17_000, 68_200]);
    assert_eq!((link.established_at(), link.found()), (None, Link::Unknown));
    for found in [Link::Established, Link::Shared, Link::Unknown] {
        let mut link = LinkWatch::new(START);
        link.seen(found, START + secs(1));
        assert_eq!((link.due(), link.found()), (None, found), "nothing more to look for");
        assert_eq!(link.established_at().is_some(), found == Link::Established);
    }
}

#[test]
fn a_control_master_has_a_connection_of_its_own() {
    let mut link = LinkWatch::new(START);
    link.seen(Link::Master, START);
    for later in [Link::None, Link::Shared, Link::Unknown, Link::Established] {
        link.seen(later, START + secs(5));
        assert_eq!((link.found(), link.established_at()), (Link::Established, Some(START)), "{later:?}");
    }
}

#[test]
fn the_address_is_checked_when_the_network_has_settled() {
    let mut link = established();
    link.network_changed(START);
    assert_eq!(link.due(), Some(START + secs(1)));
    for millis in [500, 1200, 1900, 2600, 3300, 4000, 4700] {
        link.network_changed(START + Duration::from_millis(millis));
    }
    assert_eq!(link.due(), Some(START + secs(5)), "put off no longer than that");
    assert_eq!(link.take(START + Duration::from_millis(4999)), None);
    assert_eq!(link.take(START + secs(5)), Some(Due::Check));
    assert_eq!(link.checked(None), None);
    assert_eq!(link.due(), None);
}

#[test]
fn an_address_is_gone_when_it_is_so_twice() {
    let mut link = established();
    link.network_changed(START);
    assert_eq!(link.take(START + secs(1)), Some(Due::Check));
    assert_eq!(link.checked(Some(ADDRESS.into())), None);
    link.network_changed(START + secs(2));
    assert_eq!(link.due(), Some(START + secs(4)), "changes do not put the confirmation off");
    assert_eq!(link.take(START + secs(4)), Some(Due::Check));
    assert_eq!(link.checked(Some(ADDRESS.into())), Some(ADDRESS.into()));
    assert_eq!(link.due(), None);
}

#[test]
fn an_address_that_returns_is_no_loss() {
    let mut link = established();
    link.network_changed(START);
    link.take(START + secs(1));
    link.checked(Some(ADDRESS.into()));
    assert_eq!(link.take(START + secs(4)), Some(Due::Check));
    assert_eq!(link.checked(None), None);
    assert_eq!(link.due(), None);
    // The next time it takes two checks again.
    link.network_changed(START + secs(60));
    link.take(START + secs(61));
    assert_eq!(link.checked(Some(ADDRESS.into())), None);
}

#[test]
fn without_a_connection_of_its_own_there_is_no_address() {
    for found in [Link::None, Link::Shared, Link::Unknown] {
        let mut link = LinkWatch::new(START);
        link.seen(found, START);
        let due = link.due();
        link.network_changed(START);
        assert_eq!(link.due(), due, "{found:?}");
    }
}

#[test]
fn after_the_login_it_is_too_late_to_look() {
    let mut link = LinkWatch::new(START);
    link.logged_in();
    assert_eq!((link.due(), link.found()), (None, Link::Unknown));
    let mut link = established();
    link.logged_in();
    assert_eq!(link.found(), Link::Established);
}
