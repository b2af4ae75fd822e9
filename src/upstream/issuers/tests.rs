use super::{Egress, FRESH, Kept, RETRY_EVERY, STALE_MAX, UNKNOWN_EVERY, https};
use crate::clock::Timestamp;
use crate::names::Network;

#[test]
fn addresses_inside_are_refused_unless_they_are_allowed() {
    let (outside, mut inside) = (["8.8.8.8", "140.82.112.3", "2606:50c0:8000::153"], Vec::new());
    inside.extend(["127.0.0.1", "10.1.2.3", "172.31.0.1", "192.168.0.9", "169.254.169.254", "100.64.0.1", "0.0.0.0"]);
    inside.extend(["255.255.255.255", "224.0.0.1", "::1", "::", "fe80::1", "fd00::1", "::ffff:169.254.169.254"]);
    inside.extend(["64:ff9b::a9fe:a9fe", "2002:7f00:1::", "::127.0.0.1"]);
    let none = Egress::new(&[]);
    for address in outside {
        assert!(none.permits(address.parse().unwrap()), "{address}");
    }
    for address in &inside {
        assert!(!none.permits(address.parse().unwrap()), "{address}");
    }
    let some = Egress::new(&["10.1.0.0/16", "fd00::/8", "127.0.0.1"].map(|text| Network::parse(text).unwrap()));
    for (address, permitted) in [
        ("10.1.2.3", true),
        ("10.2.0.1", false),
        ("fd00::1", true),
        ("127.0.0.1", true),
        ("127.0.0.2", false),
        ("::ffff:10.1.2.3", true),
    ] {
        assert_eq!(some.permits(address.parse().unwrap()), permitted, "{address}");
    }
}

#[test]
fn only_https_is_asked() {
    let read = |url: &str| https(url).map(|(_, host, port)| (host, port));
    assert_eq!(read("https://a.example/keys?x=1"), Some(("a.example".to_owned(), 443)));
    assert_eq!(read("https://a.example:8443/"), Some(("a.example".to_owned(), 8443)));
    for bad in ["http://a.example/", "file:///etc/passwd", "/keys", "https://user@a.example/", "https://[::1]/", ""] {
        assert_eq!(read(bad), None, "{bad}");
    }
}

#[test]
fn an_issuer_is_asked_anew_when_that_is_due_and_not_before() {
    let start = Timestamp::from_secs(1_000_000);
    let never = Kept::default();
    assert!(never.is_due(false, start));
    assert!(never.answer("k", start).is_none(), "nothing is known of who was never asked");
    let kept = Kept { fetched_at: Some(start), asked_at: Some(start), ..Kept::default() };
    let later = |wait: std::time::Duration| start.plus(wait);
    let just = std::time::Duration::from_micros(1);
    for (found, wait) in [(true, FRESH), (false, UNKNOWN_EVERY)] {
        assert!(!kept.is_due(found, later(wait - just)), "{found}");
        assert!(kept.is_due(found, later(wait)), "{found}");
    }
    let asked_at = later(FRESH);
    let unanswered = Kept { asked_at: Some(asked_at), ..kept };
    assert!(!unanswered.is_due(true, asked_at.plus(RETRY_EVERY - just)));
    assert!(unanswered.is_due(false, asked_at.plus(RETRY_EVERY)));
    assert!(unanswered.answer("k", later(STALE_MAX - just)).is_some());
    assert!(unanswered.answer("k", later(STALE_MAX)).is_none());
}
