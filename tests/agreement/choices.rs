//! What a generated deployment chooses from: for each of its keys some texts, the first of them
//! valid with the first of all others.

/// A key of a file, and what may be written there.
pub struct Key {
    /// The name in [`FILES`], and in what a failure prints.
    pub name: &'static str,
    pub texts: &'static [&'static str],
}

/// What is done with a file in place of its text. `#` begins a comment in every file that is one.
pub const ABSENT: &str = "# absent";

/// The files and their texts, with `<key>` for what is chosen.
pub const FILES: &[(&str, &str)] = &[
    (
        "serin.toml",
        r#"<server>
[limits]
<limits>

[features.account]
<view>

[layers.l]
<layer>

<holdout>

<governance>

<model>

[decision_points.p]
strategy = <pin>
<in layer>
entities = <entities>
context = <context>
actions = <actions>
fallback = <fallback>
<deadline>
<exclude>

<other point>

<end>
"#,
    ),
    (
        "experiments/e.toml",
        r#"<e>
id = "e"
decision_point = "p"
slot = <e slot>
<e start>
<e more>

[[arms]]
name = "control"
strategy = "p@1.0.0"
weight = <e weight>

[[arms]]
name = "next"
strategy = <e next>
weight = 0.5

<e metric>

<e tables>
"#,
    ),
    (
        "experiments/f.toml",
        r#"<f>
id = <f id>
decision_point = <f point>
slot = <f slot>
<f more>

[[arms]]
name = "control"
strategy = <f control>
weight = 1.0
"#,
    ),
];

pub const KEYS: &[Key] = &[
    Key { name: "server", texts: &["", "server.threads = 2", "server.threads = 0", "server.listen = 8080"] },
    Key { name: "limits", texts: &["wall_ms = 2000", "wall_ms = 1000", "fuel = 100", "wall_ms = 0", "fule = 1"] },
    Key {
        name: "view",
        texts: &[
            "entity = \"borrower\"\nttl = \"1d\"\ncolumns = { balance = \"number\", segment = \"text\" }",
            "entity = \"borrower\"\nttl = \"1h\"\ncolumns = { balance = \"number\", segment = \"text\" }",
            "entity = \"borrower\"\nttl = \"2d\"\ncolumns = { balance = \"text\", segment = \"text\" }",
            "entity = \"borrower\"\ncolumns = { segment = \"text\" }",
            "entity = \"loan\"\nttl = \"1d\"\ncolumns = { balance = \"number\", segment = \"text\" }",
            "entity = \"borrower\"\nttl = \"1d\"",
            "entity = \"borrower\"\ncolumns = { balance = \"float\" }",
        ],
    },
    Key {
        name: "layer",
        texts: &[
            "unit = \"borrower\"",
            "unit = \"borrower\"\nsalt = \"other\"",
            "unit = \"borrower\"\nholdout = 0.1",
            "unit = \"loan\"",
            "unit = \"borrower\"\nholdout = 1.5",
            "unit = 3",
        ],
    },
    Key {
        name: "holdout",
        texts: &[
            "",
            "[global_holdout]\nunit = \"borrower\"\nshare = 0.1",
            "[global_holdout]\nunit = \"loan\"\nshare = 0.1",
            "[global_holdout]\nunit = \"borrower\"",
        ],
    },
    Key {
        name: "governance",
        texts: &[
            "",
            "[governance]\napprovals = 1",
            "[governance]\napprovals = 2\napprovers = [\"ann\", \"bob\"]",
            "[governance]\napprovals = 3\napprovers = [\"ann\", \"bob\"]",
        ],
    },
    Key {
        name: "model",
        texts: &[
            "",
            "",
            "",
            "[models.default-risk.\"1.0.0\"]\npath = \"models/risk.onnx\"",
            "[models.default-risk.\"1.0.0\"]\npath = \"models/nothing.onnx\"",
            "[models.default-risk]\npath = \"models/risk.onnx\"",
        ],
    },
    Key {
        name: "pin",
        texts: &["\"p@1.0.0\"", "\"q@1.0.0\"", "\"p@1.1.0\"", "\"p@3.0.0\"", "\"x@1.0.0\"", "\"p\"", "3"],
    },
    Key { name: "in layer", texts: &["layer = \"l\"", "", "layer = \"m\""] },
    Key {
        name: "entities",
        texts: &["[\"borrower\"]", "[\"borrower\", \"loan\"]", "[\"loan\"]", "[]", "[\"borrower\", \"borrower\"]"],
    },
    Key { name: "context", texts: &["{ due = \"number\" }", "{}", "{ due = \"text?\" }", "{ due = \"numbr\" }"] },
    Key {
        name: "actions",
        texts: &["[\"go\", \"none\"]", "[\"go\", \"none\", \"stop\"]", "[\"none\"]", "[\"go\", \"go\"]", "[]"],
    },
    Key {
        name: "fallback",
        texts: &[
            "{ action = \"none\" }",
            "{ action = \"go\", parameters = { n = 3 } }",
            "{ action = \"go\" }",
            "{ action = \"go\", parameters = { n = \"three\" } }",
            "{ action = \"stop\" }",
            "\"none\"",
        ],
    },
    Key {
        name: "deadline",
        texts: &["deadline = \"5s\"", "deadline = \"1s\"", "deadline = \"0s\"", "deadline = 1000"],
    },
    Key {
        name: "exclude",
        texts: &[
            "",
            "exclude = \"has(features.account.balance) && features.account.balance > 5.0\"",
            "exclude = \"context.due > 1.0\"",
            "exclude = \"features.account.nothing > 1.0\"",
            "exclude = \"context.due >\"",
        ],
    },
    Key {
        name: "other point",
        texts: &[
            "",
            "[decision_points.x]\nstrategy = \"x@1.0.0\"\nlayer = \"l\"\nentities = [\"borrower\"]\nactions = [\"go\", \"none\"]\nfallback = { action = \"none\" }",
            "[decision_points.x]\nstrategy = \"x@1.0.0\"\nentities = [\"loan\"]\nactions = [\"go\", \"none\"]\nfallback = { action = \"none\" }",
            "[decision_points.x]\nstrategy = \"p@1.0.0\"\nentities = [\"borrower\"]\nactions = [\"go\", \"none\"]\nfallback = { action = \"none\" }",
            "[decision_points.x]\nstrategy = \"x@9.0.0\"\nentities = [\"borrower\"]\nactions = [\"go\", \"none\"]\nfallback = { action = \"none\" }",
            "[decision_points.x]\nentities = [\"borrower\"]",
        ],
    },
    Key { name: "end", texts: &["", "# the end", "[layers.l]\nunit = \"borrower\"", "[typo]", "[limits"] },
    Key { name: "e", texts: &["", "owner = \"ann\"", ABSENT, "onwer = \"ann\"", "[["] },
    Key { name: "e slot", texts: &["[0.0, 0.5]", "[0.0, 0.4]", "[0.2, 0.7]", "[0.0, 1.0]", "[0.5, 0.2]", "0.5"] },
    Key { name: "e start", texts: &["", "start = \"manual\"", "start = \"now\""] },
    Key {
        name: "e more",
        texts: &[
            "",
            "coverage = 0.5",
            "ramp = [{ coverage = 0.2, hold = \"1d\" }, { coverage = 1.0 }]",
            "ramp = [{ coverage = 0.8, hold = \"1d\" }, { coverage = 0.2 }]",
            "reuse_slot = true",
            "eligible = \"has(features.account.balance) && features.account.balance > 5.0\"",
            "eligible = \"context.due > 1.0\"",
            "eligible = \"context.nothing > 1.0\"",
            "unit = \"borrower\"",
            "unit = \"loan\"",
            "segments = [\"features.account.segment\"]",
            "segments = [\"features.account.nothing\"]",
        ],
    },
    Key { name: "e weight", texts: &["0.5", "0.4", "0.50000000001", "\"half\""] },
    Key { name: "e next", texts: &["\"q@1.0.0\"", "\"p@1.1.0\"", "\"q@9.0.0\"", "\"x@1.0.0\"", "\"q\""] },
    Key {
        name: "e metric",
        texts: &[
            "[[metrics]]\nname = \"m\"\nrole = \"goal\"\noutcome = \"cured\"\nwindow = \"14d\"",
            "[[metrics]]\nname = \"m\"\nrole = \"goal\"\noutcome = \"cured\"\nwindow = \"20d\"",
            "[[metrics]]\nname = \"m\"\nrole = \"goal\"\noutcome = \"cured\"\nwindow = \"14d\"\nalpha = 0.02",
            "[[metrics]]\nname = \"m\"\nrole = \"secondary\"\nsource = \"decisions\"\noutcome = \"go\"\nwindow = \"14d\"",
            "[[metrics]]\nname = \"m\"\nrole = \"secondary\"\nsource = \"decisions\"\noutcome = \"fly\"\nwindow = \"14d\"",
            "[[metrics]]\nname = \"m\"\nrole = \"goal\"\noutcome = \"cured\"\nwindow = \"14d\"\ncuped = [\"features.account.balance\"]",
            "[[metrics]]\nname = \"m\"\nrole = \"goal\"\noutcome = \"cured\"\nwindow = \"14d\"\ncuped = [\"features.account.segment\"]",
            "[[metrics]]\nname = \"m\"\nrole = \"goal\"\noutcome = \"cured\"\nwindow = \"0d\"",
        ],
    },
    Key {
        name: "e tables",
        texts: &[
            "",
            "[[guardrails]]\nmetric = \"failures\"\nmax_increase = 0.01",
            "[[guardrails]]\nmetric = \"failures\"\nmax_increase = 0.02",
            "[[guardrails]]\nmetric = \"failures\"\nmax_increase = 2",
            "[[guardrails]]\nmetric = \"nothing\"\nmax_increase = 0.01",
            "[[fairness]]\nattribute = \"features.account.segment\"\nreference = \"a\"\nadverse_actions = [\"go\"]",
            "[[fairness]]\nattribute = \"features.account.segment\"\nreference = \"a\"\nadverse_actions = [\"fly\"]",
            "[[arms]]\nname = \"watcher\"\nstrategy = \"p@1.1.0\"\nmode = \"shadow\"",
            "[[arms]]\nname = \"watcher\"\nstrategy = \"p@9.0.0\"\nmode = \"shadow\"",
            "[[notify]]\nurl = \"https://hooks.example/serin\"\nevents = [\"breach\"]\nsecret_env = \"SERIN_TEST_NOT_SET\"",
        ],
    },
    Key { name: "f", texts: &[ABSENT, "", "owner = \"bob\"", "oops"] },
    Key { name: "f id", texts: &["\"f\"", "\"e\"", "\"g\"", "\"not a name\""] },
    Key { name: "f point", texts: &["\"p\"", "\"x\"", "\"nothing\""] },
    Key { name: "f slot", texts: &["[0.5, 1.0]", "[0.4, 1.0]", "[0.0, 0.5]"] },
    Key { name: "f more", texts: &["", "reuse_slot = true", "start = \"manual\"", "coverage = 2.0"] },
    Key { name: "f control", texts: &["\"p@1.0.0\"", "\"x@1.0.0\"", "\"p@9.0.0\""] },
    Key { name: "plugins/p-1.0.0.wasm", texts: &["plain", "other", ABSENT, "garbage"] },
    Key { name: "plugins/p-1.1.0.wasm", texts: &["reads", "plain", ABSENT, "unfit"] },
    Key { name: "plugins/q-1.0.0.wasm", texts: &["plain", "other", ABSENT, "declares", "fails"] },
    Key { name: "plugins/x-1.0.0.wasm", texts: &["plain", ABSENT, "garbage"] },
    Key { name: "models/risk.onnx", texts: &["plain", ABSENT, "garbage"] },
    Key { name: "models/risk.golden.json", texts: &["plain", ABSENT, "garbage"] },
];
