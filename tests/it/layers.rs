//! Which module may use which: the layers of `src/main.rs`, and no circles within a folder.

use std::collections::{BTreeMap, BTreeSet};

use crate::tidy::sources;

/// One module uses another, with the first place where it does. Both are in `folder`, which is empty for `src`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Arrow {
    folder: String,
    from: String,
    to: String,
    place: String,
}

/// The code of the program, by module: `["store", "list"]` is `src/store/list.rs`. `src/main.rs` is not among them.
struct Modules(BTreeMap<Vec<String>, Module>);

struct Module {
    file: String,
    /// Comments, strings and tests are blanked out, so that positions are those of the file.
    code: String,
}

impl Modules {
    fn read() -> Modules {
        let files = sources().into_iter().filter(|source| source.name != "main.rs" && !source.is_test());
        Modules::of(files.map(|source| {
            let mut code = String::new();
            for (_, line) in source.code() {
                code.push_str(&without_strings(line));
                code.push('\n');
            }
            (source.name.clone(), code)
        }))
    }

    fn of(files: impl Iterator<Item = (String, String)>) -> Modules {
        let module = |(file, code): (String, String)| {
            let path = file.trim_end_matches(".rs").split('/').map(str::to_owned).collect();
            (path, Module { file: format!("src/{file}"), code })
        };
        Modules(files.map(module).collect())
    }

    /// Every use of another module, once for each pair.
    fn arrows(&self) -> Vec<Arrow> {
        let mut arrows = BTreeMap::new();
        for (path, module) in &self.0 {
            for (at, target) in used_paths(&module.code, path) {
                let target = self.resolve(target);
                let common = path.iter().zip(&target).take_while(|(a, b)| a == b).count();
                let (Some(from), Some(to)) = (path.get(common), target.get(common)) else { continue };
                if self.0.contains_key(&target[..=common]) {
                    let line = module.code[..at].matches('\n').count() + 1;
                    let key = (target[..common].join("/"), from.clone(), to.clone());
                    arrows.entry(key).or_insert_with(|| format!("{}:{line}", module.file));
                }
            }
        }
        let arrow = |((folder, from, to), place)| Arrow { folder, from, to, place };
        arrows.into_iter().map(arrow).collect()
    }

    /// Follows what a module passes on from its children: `store::Error` is `store::error::Error`.
    fn resolve(&self, path: Vec<String>) -> Vec<String> {
        for length in 1..path.len() {
            let (parent, name) = (&path[..length], &path[length]);
            let Some(module) = self.0.get(parent) else { return path };
            if self.0.contains_key(&path[..=length]) {
                continue;
            }
            let passed_on = imports(&module.code).into_iter().find(|import| import.last() == Some(name));
            let Some(import) = passed_on else { return path };
            let target = [parent, &import].concat();
            return if self.0.contains_key(&target[..=length]) { target } else { path };
        }
        path
    }
}

/// The paths from `crate`, `super` or `self` in the code of the module `path`, from the top, with their positions.
fn used_paths(code: &str, path: &[String]) -> Vec<(usize, Vec<String>)> {
    let mut used = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        used.extend(trees(&code[at + "crate::".len()..]).into_iter().map(|tree| (at, tree)));
    }
    for (at, _) in code.match_indices("super::") {
        if code[..at].ends_with("super::") {
            continue;
        }
        let ups = 1 + code[at + "super::".len()..].split("super::").take_while(|between| between.is_empty()).count();
        let base = &path[..path.len().saturating_sub(ups)];
        let trees = trees(&code[at + ups * "super::".len()..]);
        used.extend(trees.into_iter().map(|tree| (at, [base, &tree].concat())));
    }
    used
}

/// The paths that `use` statements bring in, as they are written.
fn imports(code: &str) -> Vec<Vec<String>> {
    let statements = code.match_indices("use ").filter(|(at, _)| code[..*at].trim_end_matches("pub ").ends_with('\n'));
    statements.flat_map(|(at, word)| trees(&code[at + word.len()..])).collect()
}

/// The paths of which `text` begins with one, or with several in braces: `a::{b, c::d}` are `a::b` and `a::c::d`.
fn trees(text: &str) -> Vec<Vec<String>> {
    if let Some(inside) = text.strip_prefix('{') {
        return branches(inside).into_iter().flat_map(|branch| trees(branch.trim_start())).collect();
    }
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
    let (name, rest) = (text[..end].to_owned(), &text[end..]);
    match rest.strip_prefix("::") {
        _ if name.is_empty() => Vec::new(),
        Some(rest) if !rest.starts_with(['<', '*']) => {
            trees(rest).into_iter().map(|tree| [vec![name.clone()], tree].concat()).collect()
        }
        _ => vec![vec![name]],
    }
}

/// What stands between the commas of the outermost braces; `inside` begins behind the opening one.
fn branches(inside: &str) -> Vec<&str> {
    let (mut depth, mut start, mut found) = (0, 0, Vec::new());
    for (at, c) in inside.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth > 0 => depth -= 1,
            '}' | ',' if depth == 0 => {
                found.push(&inside[start..at]);
                start = at + 1;
                if c == '}' {
                    break;
                }
            }
            _ => {}
        }
    }
    found
}

fn without_strings(line: &str) -> String {
    let parts = line.split('"').enumerate();
    parts.map(|(at, part)| if at % 2 == 0 { part.to_owned() } else { " ".repeat(part.len() + 2) }).collect()
}

/// The modules of `src/main.rs`, in their order.
fn layers() -> Vec<String> {
    let main = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/src/main.rs")).unwrap();
    main.lines().filter_map(|line| line.strip_prefix("mod ")?.strip_suffix(';')).map(str::to_owned).collect()
}

/// The arrows of the top level that do not point down.
fn wrong_arrows(layers: &[String], arrows: &[Arrow]) -> Vec<Arrow> {
    let layer = |name: &String| layers.iter().position(|layer| layer == name);
    let points_up = |arrow: &&Arrow| arrow.folder.is_empty() && layer(&arrow.from) >= layer(&arrow.to);
    arrows.iter().filter(points_up).cloned().collect()
}

/// The arrows that are part of a circle.
fn circles(arrows: &[Arrow]) -> Vec<Arrow> {
    let leads_back = |arrow: &&Arrow| {
        let (mut seen, mut next) = (BTreeSet::new(), vec![&arrow.to]);
        while let Some(from) = next.pop() {
            if seen.insert(from) {
                next.extend(arrows.iter().filter(|it| it.folder == arrow.folder && it.from == *from).map(|it| &it.to));
            }
        }
        seen.contains(&arrow.from)
    };
    arrows.iter().filter(leads_back).cloned().collect()
}

#[test]
fn a_module_uses_only_modules_declared_below_it() {
    let (layers, modules) = (layers(), Modules::read());
    let undeclared = modules.0.keys().find(|path| !layers.contains(&path[0]));
    assert_eq!(undeclared, None, "not declared in src/main.rs");
    let wrong = wrong_arrows(&layers, &modules.arrows());
    let lines = wrong.iter().map(|arrow| format!("{} uses `{}`, which is declared above it", arrow.place, arrow.to));
    let lines: Vec<_> = lines.collect();
    assert!(lines.is_empty(), "a module may use only modules declared below it in src/main.rs\n{}", lines.join("\n"));
}

#[test]
fn neighbours_in_a_folder_do_not_use_each_other() {
    let mut arrows = Modules::read().arrows();
    arrows.retain(|arrow| !arrow.folder.is_empty());
    let wrong = circles(&arrows);
    let lines = wrong.iter().map(|arrow| format!("{} uses `{}`, which leads back to it", arrow.place, arrow.to));
    let lines: Vec<_> = lines.collect();
    assert!(lines.is_empty(), "neighbours that use each other are one module, or need a third\n{}", lines.join("\n"));
}

#[test]
fn a_wrong_arrow_and_a_circle_are_found() {
    let files = [
        ("store.rs", "mod a;\nmod b;\npub use b::{Thing, other::Name};\n"),
        ("store/a.rs", "use std::io;\nuse super::{Other, Thing};\n"),
        ("store/b.rs", "\nuse crate::{\n    clock,\n    store::a::X,\n};\n"),
        ("clock.rs", "fn now() { super::store::a::f() }\n"),
    ];
    let modules = Modules::of(files.iter().map(|(name, code)| ((*name).to_owned(), (*code).to_owned())));
    let arrows = modules.arrows();
    let arrow = |folder: &str, from: &str, to: &str, place: &str| {
        let [folder, from, to, place] = [folder, from, to, place].map(str::to_owned);
        Arrow { folder, from, to, place }
    };
    let (up, down) = (arrow("", "clock", "store", "src/clock.rs:1"), arrow("", "store", "clock", "src/store/b.rs:2"));
    let (there, back) = (arrow("store", "a", "b", "src/store/a.rs:2"), arrow("store", "b", "a", "src/store/b.rs:2"));
    assert_eq!(arrows, [up.clone(), down.clone(), there.clone(), back.clone()]);
    let layers = ["store", "clock"].map(str::to_owned);
    assert_eq!(wrong_arrows(&layers, &arrows), arrows[..1]);
    assert_eq!(circles(&arrows), [up, down, there, back]);
}
