//! A TOML file whose lines are known by table and key.

/// A table's lines.
#[derive(Debug, Clone)]
struct Section {
    /// The line `[table]` or `[[table]]`; empty for the keys before the first table.
    head: String,
    keys: Vec<(String, String)>,
}

impl Section {
    fn table(&self) -> &str {
        self.head.trim_matches(['[', ']'])
    }
}

/// A TOML file, a key a line.
#[derive(Debug, Clone)]
pub struct Document {
    sections: Vec<Section>,
}

impl Document {
    /// Reads a text that has a key a line.
    pub fn of(text: &str) -> Self {
        let mut sections = vec![Section { head: String::new(), keys: Vec::new() }];
        for line in text.lines().filter(|line| !line.is_empty()) {
            match line.split_once(" = ").filter(|_| !line.starts_with('[')) {
                Some((key, value)) => {
                    sections.last_mut().expect("one").keys.push((key.to_owned(), value.to_owned()));
                }
                None => sections.push(Section { head: line.to_owned(), keys: Vec::new() }),
            }
        }
        Self { sections }
    }

    /// The last table of a name.
    fn section(&mut self, table: &str) -> &mut Section {
        let mut of_table = self.sections.iter_mut().rev().filter(|section| section.table() == table);
        of_table.next().unwrap_or_else(|| panic!("the file has no table '{table}'"))
    }

    /// The keys of the last table of a name.
    pub fn keys(&mut self, table: &str) -> Vec<String> {
        self.section(table).keys.iter().map(|(key, _)| key.clone()).collect()
    }

    /// The file with a key of the last table of a name set; at its end if it is new.
    pub fn with(mut self, table: &str, key: &str, value: &str) -> Self {
        let section = self.section(table);
        match section.keys.iter_mut().find(|(known, _)| known == key) {
            Some((_, old)) => value.clone_into(old),
            None => section.keys.push((key.to_owned(), value.to_owned())),
        }
        self
    }

    /// The file without a key of the last table of a name.
    pub fn without(mut self, table: &str, key: &str) -> Self {
        self.section(table).keys.retain(|(known, _)| known != key);
        self
    }

    /// The file with another name for a key.
    pub fn renamed(mut self, table: &str, key: &str, other: &str) -> Self {
        let found = self.section(table).keys.iter_mut().find(|(known, _)| known == key);
        other.clone_into(&mut found.expect("the key is there").0);
        self
    }

    /// The file with a key twice.
    pub fn doubled(mut self, table: &str, key: &str) -> Self {
        let section = self.section(table);
        let twice = section.keys.iter().find(|(known, _)| known == key).expect("the key is there").clone();
        section.keys.push(twice);
        self
    }

    /// The file without the tables that begin with a name.
    pub fn without_tables(mut self, root: &str) -> Self {
        self.sections.retain(|section| section.head.is_empty() || !is_of(section, root));
        self
    }

    /// The file with another name for the tables that begin with `root`.
    pub fn renamed_tables(mut self, root: &str, other: &str) -> Self {
        for section in self.sections.iter_mut().filter(|section| is_of(section, root)) {
            section.head = section.head.replacen(root, other, 1);
        }
        self
    }

    /// The line of a key in the last table of a name, the last one if there are two; that of the
    /// table's head if the key is not there.
    pub fn line(&self, table: &str, key: &str) -> usize {
        let (mut line, mut found) = (1, 1);
        for section in &self.sections {
            let head = usize::from(!section.head.is_empty());
            if section.table() == table {
                let at = section.keys.iter().rposition(|(known, _)| known == key);
                found = at.map_or(line, |at| line + head + at);
            }
            line += head + section.keys.len() + 1;
        }
        found
    }

    /// The first line of the tables that begin with a name.
    pub fn line_of_tables(&self, root: &str) -> usize {
        let before = self.sections.iter().take_while(|section| !is_of(section, root));
        before.map(|section| usize::from(!section.head.is_empty()) + section.keys.len() + 1).sum::<usize>() + 1
    }

    /// The text.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for section in &self.sections {
            if !section.head.is_empty() {
                text.push_str(&format!("{}\n", section.head));
            }
            for (key, value) in &section.keys {
                text.push_str(&format!("{key} = {value}\n"));
            }
            text.push('\n');
        }
        text
    }
}

fn is_of(section: &Section, root: &str) -> bool {
    section.table().split('.').next() == Some(root) && !section.head.is_empty()
}
