//! A token under the wrong key is told as a mistake, and is shown nowhere.

use super::SHOWN;
use crate::support::{Host, collections, eventually, run};

const TOKEN: &str = "serin_3aab3aab3aab3aab3aab3aab3aab3aab3aab3aab3aab3aab3aab3aab3aab3aab";

#[test]
fn a_token_in_the_file_is_in_no_message_about_it() {
    let deployment = collections();
    let good = deployment.read("serin.toml");
    let entry = |line: &str| format!("{good}\n[[access.tokens]]\n{line}\n");
    let whole = format!("name = \"app\"\nroles = [\"decide\"]\nsha256 = \"{}\"\n", "a".repeat(64));
    let spoilt = [
        (entry(&format!("token = \"{TOKEN}\"")), "unknown field `token`"),
        (entry(&whole.replace("[\"decide\"]", &format!("\"{TOKEN}\""))), "(roles): a text, expected"),
        (entry(&whole.replace("[\"decide\"]", &format!("[\"{TOKEN}\"]"))), "access.tokens[0].roles"),
        (entry(&whole.replace("app", TOKEN)), "access.tokens[0].name"),
        (entry(&whole.replace(&"a".repeat(64), TOKEN)), "access.tokens[0].sha256"),
        (entry(&format!("name = {TOKEN}")), "TOML parse error at line"),
        (entry(&format!("name = \"{TOKEN}")), "TOML parse error at line"),
        (entry(&format!("{whole}expires = \"{TOKEN}\"")), "access.tokens[0].expires"),
        (entry(&format!("{whole}{TOKEN} = 1")), "unknown field"),
    ];
    let host = Host::start(&deployment).ready();
    let config = deployment.config();
    for (text, words) in spoilt {
        deployment.write("serin.toml", &text);
        let checked = run(["check", "--config", config.to_str().expect("a path")]);
        assert!(checked.code == Some(1) && checked.stderr.contains(words), "{words}: {}", checked.stderr);
        let told = eventually(words, SHOWN, || {
            let told = host.admin.get("/v1/deployment").json()["config_error"].as_str()?.to_owned();
            told.contains(words).then_some(told)
        });
        for said in [&told, &checked.stdout, &checked.stderr] {
            assert!(!said.contains("3aab"), "{said}");
        }
        deployment.write("serin.toml", &good);
        eventually("it is mended", SHOWN, || {
            host.admin.get("/v1/deployment").json()["config_error"].is_null().then_some(())
        });
    }
    assert!(host.log().contains("unknown field `token`") && !host.log().contains("3aab"), "{}", host.log());
}
