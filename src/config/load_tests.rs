use super::*;

fn loaded(variables: &[(&str, &str)]) -> Result<Loaded, String> {
    let variables = variables.iter().map(|(name, value)| ((*name).into(), (*value).into()));
    let flags = Flags { data: Some("/nowhere".into()), ..Flags::default() };
    load(&flags, variables).map_err(|error| error.0)
}

#[test]
fn every_setting_of_the_structs_stands_in_the_table() {
    fn names(above: &str, dict: &Dict, found: &mut Vec<String>) {
        for (key, value) in dict {
            let name = if above.is_empty() { key.clone() } else { format!("{above}.{key}") };
            match value.as_dict() {
                Some(inner) => names(&name, inner, found),
                None => found.push(name),
            }
        }
    }
    let mut found = Vec::new();
    let defaults = Serialized::defaults(Settings::default()).data().unwrap();
    names("", &defaults[&Profile::Default], &mut found);
    for name in found {
        assert!(SETTINGS.iter().any(|setting| setting.name == name), "{name}");
    }
}

#[test]
fn every_setting_of_the_table_can_be_set() {
    for setting in &SETTINGS {
        let value = match setting.kind {
            Kind::Text | Kind::Secret => "warn".to_owned(),
            Kind::Address => "[::1]:1".to_owned(),
            Kind::Networks => "192.0.2.0/24, 2001:db8::7".to_owned(),
            Kind::Choice(words) => words[0].to_owned(),
            Kind::Algorithms => "ES256".to_owned(),
            Kind::Switch => "1".to_owned(),
            Kind::Number(_, most) => most.to_string(),
        };
        if setting.name == "data" {
            continue;
        }
        let variable = setting.variable();
        let loaded = loaded(&[(&variable, &value)]).unwrap();
        let row = loaded.rows.iter().find(|row| row.name == setting.name).unwrap();
        assert_eq!(row.source, format!("environment variable {variable}"));
        assert!(!row.value.is_null(), "{row:?}");
    }
}

#[test]
fn a_secret_may_look_like_a_number_and_is_never_shown() {
    let digits = "1".repeat(40);
    let found = loaded(&[("ENTITLED_ROOT_KEY", &digits)]).unwrap();
    assert_eq!(found.settings.root_key.as_ref().unwrap().reveal(), digits);
    assert!(!format!("{found:?}").contains(&digits));
}

#[test]
fn what_nobody_knows_is_refused_with_the_nearest_name() {
    let wrong = loaded(&[("ENTITLED_LISTN", "x"), ("ENTITLED_LIMITS__QUEUE", "1")]).unwrap_err();
    assert!(wrong.contains("ENTITLED_LISTN; did you mean ENTITLED_LISTEN?"), "{wrong}");
    assert!(wrong.contains("ENTITLED_LIMITS__QUEUE; did you mean ENTITLED_LIMITS__"), "{wrong}");
    // Kubernetes' own, and those of single commands.
    let fine = [("ENTITLED_PORT", "tcp://10.0.0.1:80"), ("ENTITLED_URL", "x"), ("HOME", "/")];
    assert!(loaded(&fine).is_ok());
}

#[test]
fn gating_is_exactly_true_or_false() {
    for (text, expected) in [("true", true), ("1", true), ("false", false), ("0", false)] {
        assert_eq!(loaded(&[(GATING_VARIABLE, text)]).unwrap().settings.gating, expected);
    }
    for text in ["", "True", "yes", "on", "2", " true"] {
        let wrong = loaded(&[(GATING_VARIABLE, text)]).unwrap_err();
        assert!(wrong.contains("must be exactly true, false, 1 or 0"), "{wrong}");
        assert!(wrong.contains(GATING_VARIABLE), "{wrong}");
    }
}

#[test]
fn a_wrong_value_is_named_with_its_source_and_not_shown() {
    let wrong = loaded(&[("ENTITLED_LIMITS__READERS", "hunter2")]).unwrap_err();
    assert!(wrong.starts_with("limits.readers must be a whole number from 1 to 1000"));
    assert!(wrong.contains("ENTITLED_LIMITS__READERS") && !wrong.contains("hunter2"));
    let proxies = |text| loaded(&[("ENTITLED_HTTP__TRUSTED_PROXIES", text)]);
    for text in ["", "10.0.0.0/33", "10.0.0.0/8;::1", "proxy.example.com", "10.0.0.0/8,"] {
        assert!(proxies(text).unwrap_err().starts_with("http.trusted_proxies must be"), "{text}");
    }
    assert!(loaded(&[("ENTITLED_LISTEN", "8080")]).unwrap_err().contains("a port"));
    assert!(loaded(&[("ENTITLED_LOG__FILTER", "a=b=c")]).unwrap_err().contains("log.filter"));
    assert!(loaded(&[("ENTITLED_ROOT_KEY", "")]).unwrap_err().contains("root_key must be"));
}
