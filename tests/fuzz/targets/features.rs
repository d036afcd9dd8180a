//! Files of features, loaded as `serin features load` does.

use parquet::basic::Compression;

use super::super::host_readers;
use super::Target;
use crate::support::root;
use crate::support::tables::{Column, compressed, parquet};

pub const CSV: Target = Target {
    name: "csv",
    read: host_readers::csv,
    seeds: || {
        let borrowers = std::fs::read_to_string(root().join("host/demo/borrowers.csv")).expect("reads");
        let head: String = borrowers.lines().take(4).flat_map(|line| [line, "\n"]).collect();
        let servicing = "entity,event_time,contacts_7d,balance_due,hardship_flag,cease_contact\r\n\
                         l-1,2026-01-01T00:00:00Z,3,12.5,true,\r\n\"l, \"\"2\"\"\",2026-01-01T00:00:00+02:00,,-1e3,false,true\r\n";
        vec![servicing.as_bytes().to_vec(), head.into_bytes(), "\u{feff}entity,event_time\n".into()]
    },
};

pub const PARQUET: Target = Target {
    name: "parquet",
    read: host_readers::parquet,
    seeds: || {
        let columns = || {
            [
                ("entity", Column::Text(vec![Some("l-1"), Some("l-2"), Some("l-3")])),
                ("event_time", Column::Time(vec![Some(1_760_000_000_000); 3])),
                ("contacts_7d", Column::Integer(vec![Some(1), None, Some(-3)])),
                ("balance_due", Column::Number(vec![Some(0.5), None, Some(1e9)])),
                ("hardship_flag", Column::Boolean(vec![Some(true), None, Some(false)])),
            ]
        };
        vec![
            parquet(&columns()),
            compressed(Compression::SNAPPY, &columns()),
            compressed(Compression::LZ4_RAW, &columns()),
        ]
    },
};
