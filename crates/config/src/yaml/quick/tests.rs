use crate::yaml::same;

#[test]
fn real() {
    let mut files = Vec::new();
    for dir in ["/work/shared/corpus", "/work/shared/orbs"] {
        walk(std::path::Path::new(dir), &mut files);
    }
    let (mut quick, mut bad) = (0, 0);
    for file in &files {
        let text = String::from_utf8_lossy(&std::fs::read(file).unwrap()).into_owned();
        match same::readers(&text) {
            Ok(true) => quick += 1,
            Ok(false) => {
                let ok =
                    crate::yaml::events::read(capstan_model::FileId(0), &text, &mut Vec::new());
                println!(
                    "{} handed over; {:?}",
                    file.display(),
                    ok.err().map(|d| d.message)
                );
            }
            Err(why) => {
                bad += 1;
                println!(
                    "{}: {}",
                    file.display(),
                    why.chars().take(500).collect::<String>()
                );
            }
        }
    }
    println!("{quick} of {}, {bad} bad", files.len());
    assert!(bad == 0);
}

fn walk(dir: &std::path::Path, files: &mut Vec<std::path::PathBuf>) {
    for e in std::fs::read_dir(dir).unwrap() {
        let p = e.unwrap().path();
        if p.is_dir() {
            walk(&p, files)
        } else if p.extension().is_some_and(|e| e == "yml" || e == "yaml") {
            files.push(p)
        }
    }
}
