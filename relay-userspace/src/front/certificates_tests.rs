use super::super::tests::Files;
use super::super::watched::SILENCE;
use super::*;
use crate::config::CertificateFiles;

fn file(status: &CertificateStatus) -> (Vec<&str>, bool) {
    (status.names.iter().map(String::as_str).collect(), status.problem.is_some())
}

fn look(certificates: &Certificates) {
    for look in certificates.looks(Instant::now(), 9) {
        certificates.take(look);
    }
}

#[test]
fn the_name_chooses_and_the_first_is_for_everybody_else() {
    let files = Files::new("choose");
    let all = [["turn.test", "a.test"], ["*.b.test", "b.test"]].map(|names| {
        let written = files.certificate(names[0].trim_start_matches("*."), &names);
        Arc::new(Certificate::read(&written).unwrap())
    });
    let held = Held::new(all.to_vec());
    let chosen = |name| held.choose(name, |_| true).unwrap().names()[0].clone();
    for (name, expected) in [
        (Some("turn.test"), "turn.test"),
        (Some("b.test"), "*.b.test"),
        (Some("x.b.test"), "*.b.test"),
        (Some("x.y.b.test"), "turn.test"),
        (Some("elsewhere.test"), "turn.test"),
        (None, "turn.test"),
    ] {
        assert_eq!(chosen(name), expected, "{name:?}");
    }
    assert!(Held::new(Vec::new()).choose(None, |_| true).is_none());
}

#[test]
fn of_two_for_a_name_the_one_that_can_sign_is_chosen() {
    let files = Files::new("sign");
    let [one, two] = ["one", "two"]
        .map(|folder| Arc::new(Certificate::read(&files.certificate(folder, &["a.test"])).unwrap()));
    let second = two.key().clone();
    let held = Held::new(vec![one.clone(), two.clone()]);
    let chosen = held.choose(Some("a.test"), |key| key.cert == second.cert).unwrap();
    assert!(Arc::ptr_eq(chosen, &two));
    let chosen = held.choose(Some("a.test"), |_| false).unwrap();
    assert!(Arc::ptr_eq(chosen, &one), "a handshake that fails says why");
}

#[test]
fn a_bad_file_keeps_the_old_certificate_until_a_good_one_comes() {
    let files = Files::new("reload");
    let written = files.certificate("a", &["old.test"]);
    let certificates = Certificates::new(vec![Arc::new(Certificate::read(&written).unwrap())], false);
    let looked = || {
        // The first look sees a change, the second that it has settled.
        look(&certificates);
        look(&certificates);
        certificates.status()
    };
    assert_eq!(file(&looked()[0]), (vec!["old.test"], false));

    std::fs::write(&written.cert, "nonsense").unwrap();
    let status = looked();
    assert_eq!(file(&status[0]), (vec!["old.test"], true));
    assert!(status[0].problem.as_ref().unwrap().contains("no certificate in it"), "{status:?}");

    // A certificate without its key, then with it.
    let next = files.certificate("next", &["new.test"]);
    std::fs::copy(&next.cert, &written.cert).unwrap();
    let status = looked();
    assert_eq!(file(&status[0]), (vec!["old.test"], true));
    assert!(status[0].problem.as_ref().unwrap().contains("is not that of the certificate"), "{status:?}");
    std::fs::copy(&next.key, &written.key).unwrap();
    look(&certificates);
    assert_eq!(file(&certificates.status()[0]), (vec!["old.test"], true), "it has not settled");
    look(&certificates);
    assert_eq!(file(&certificates.status()[0]), (vec!["new.test"], false));

    std::fs::remove_file(&written.key).unwrap();
    assert_eq!(file(&looked()[0]), (vec!["new.test"], true));
}

fn read(files: &CertificateFiles) -> Arc<Certificate> {
    Arc::new(Certificate::read(files).unwrap())
}

/// As on a network file system whose server is gone: a look that does not end.
#[test]
fn files_that_do_not_answer_are_told_of_and_hold_up_no_others() {
    let files = Files::new("silent");
    let folders = ["a", "b"];
    let all = folders.map(|folder| read(&files.certificate(folder, &[&format!("old.{folder}.test")])));
    let certificates = Certificates::new(all.to_vec(), false);
    let start = Instant::now();
    let mut looks = certificates.looks(start, 9);
    let (of_b, stuck) = (looks.pop().unwrap(), looks.pop().unwrap());
    certificates.take(of_b);

    for folder in folders {
        files.certificate(folder, &[&format!("new.{folder}.test")]);
    }
    for _ in 0..2 {
        let mut looks = certificates.looks(start, 9);
        assert_eq!(looks.iter().map(|look| look.index).collect::<Vec<_>>(), [1], "one look at a time");
        certificates.take(looks.pop().unwrap());
    }
    let status = certificates.status();
    assert_eq!(file(&status[0]), (vec!["old.a.test"], false));
    assert_eq!(file(&status[1]), (vec!["new.b.test"], false), "it did not wait");

    assert_eq!(certificates.looks(start + SILENCE, 9).len(), 1);
    let status = certificates.status();
    assert!(status[0].problem.as_ref().unwrap().contains("does not answer"), "{status:?}");
    assert_eq!(status[1].problem, None);

    certificates.take(stuck);
    assert_eq!(certificates.status()[0].problem, None);
    certificates.take(certificates.looks(start, 9).remove(0));
    assert_eq!(file(&certificates.status()[0]), (vec!["new.a.test"], false));
}

#[test]
fn looks_are_limited_and_who_gets_none_is_told_of() {
    let files = Files::new("many");
    let all = ["a", "b"].map(|folder| read(&files.certificate(folder, &["a.test"])));
    let certificates = Certificates::new(all.to_vec(), false);
    let start = Instant::now();
    assert_eq!(certificates.looks(start, 1).len(), 1);
    assert_eq!(certificates.looks(start + SILENCE, 0).len(), 0);
    assert!(certificates.status().iter().all(|status| status.problem.is_some()));
}

/// TLS takes any key, DTLS those of ECDSA alone: see docs/transports.md.
#[test]
fn dtls_keeps_what_it_has_for_a_name_when_a_renewed_key_is_not_for_it() {
    let files = Files::new("dtls");
    let written = ["a", "b"].map(|name| files.certificate(name, &[&format!("{name}.test")]));
    let read_all = || written.iter().map(read).collect::<Vec<_>>();
    let certificates = Certificates::new(read_all(), true);
    let shown = |name| certificates.identity(Some(name)).unwrap().certificate.clone();
    let (of_a, of_b) = (shown("a.test"), shown("b.test"));
    assert_ne!(of_a, of_b);

    files.certificate_not_for_dtls("a", &["a.test"]);
    look(&certificates);
    look(&certificates);
    let is_kept = |problem: bool| {
        assert!(shown("a.test") == of_a && shown("b.test") == of_b);
        assert_eq!(certificates.status()[0].problem.is_some(), problem);
    };
    is_kept(true);
    // A reload for another reason, and one more.
    certificates.replace(read_all());
    is_kept(true);
    certificates.replace(read_all());
    is_kept(true);

    // Another certificate for the name goes before what was kept.
    let mut more = read_all();
    more.push(read(&files.certificate("c", &["a.test"])));
    certificates.replace(more);
    assert!(![&of_a, &of_b].contains(&&shown("a.test")));
    files.certificate("a", &["a.test"]);
    certificates.replace(read_all());
    assert_ne!(shown("a.test"), of_a);
    assert_eq!(certificates.status()[0].problem, None);
}

#[test]
fn what_a_look_found_is_not_served_in_place_of_what_a_reload_brought() {
    let files = Files::new("late");
    let written = files.certificate("a", &["old.test"]);
    let certificates = Certificates::new(vec![read(&written)], false);
    files.certificate("a", &["late.test"]);
    look(&certificates);
    let late = certificates.looks(Instant::now(), 9).remove(0);
    certificates.replace(vec![read(&files.certificate("b", &["other.test"]))]);
    certificates.take(late);
    let status = certificates.status();
    assert_eq!(status.len(), 1);
    assert_eq!(file(&status[0]), (vec!["other.test"], false));
}
