//! Java libraries with everything they need at run time, from Maven's repositories.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};

use super::{Tool, entry, fingerprint, sorted};

const DEPENDENCY_PLUGIN: &str = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1";

/// The files of `group:artifact:version[:ext[:classifier]]` and of all their runtime dependencies, sorted by name.
/// One call is one resolution: where two of the list want different versions of a third, Maven picks one.
pub fn maven_jars(coordinates: &[&str]) -> Result<Vec<PathBuf>> {
    let coordinates = sorted(coordinates);
    let pom = pom(&coordinates)?;
    let name = coordinates
        .first()
        .and_then(|c| c.split(':').nth(1))
        .context("no coordinates given")?;
    let dir = entry("maven", name, &[&pom, DEPENDENCY_PLUGIN], |dir| {
        fs::write(dir.join("pom.xml"), &pom)?;
        fs::create_dir(dir.join("files"))?;
        let goal = format!("{DEPENDENCY_PLUGIN}:copy-dependencies");
        Tool::new("mvn", format!("fetching {name} and its dependencies (Maven)"))
            .args([
                "-B",
                "-ntp",
                "-f",
                "pom.xml",
                &goal,
                "-DincludeScope=runtime",
                "-DoutputDirectory=files",
            ])
            .dir(dir)
            .run()
    })?;
    let mut files = fs::read_dir(dir.join("files"))?
        .map(|file| file.map(|file| file.path()))
        .collect::<std::io::Result<Vec<_>>>()?;
    files.sort();
    if files.is_empty() {
        bail!("Maven brought no file for {}", coordinates.join(", "));
    }
    Ok(files)
}

fn pom(coordinates: &[&str]) -> Result<String> {
    let mut dependencies = String::new();
    for coordinate in coordinates {
        let parts: Vec<&str> = coordinate.split(':').collect();
        let (&[group, artifact, version], rest) = parts
            .split_first_chunk::<3>()
            .with_context(|| format!("{coordinate:?} is not group:artifact:version[:ext[:classifier]]"))?;
        dependencies += &format!(
            "<dependency><groupId>{group}</groupId><artifactId>{artifact}</artifactId><version>{version}</version>"
        );
        if let Some(ext) = rest.first() {
            dependencies += &format!("<type>{ext}</type>");
        }
        if let Some(classifier) = rest.get(1) {
            dependencies += &format!("<classifier>{classifier}</classifier>");
        }
        dependencies += "</dependency>";
    }
    let id = fingerprint(coordinates);
    Ok(format!(
        "<project xmlns=\"http://maven.apache.org/POM/4.0.0\"><modelVersion>4.0.0</modelVersion>\
         <groupId>dev.tributary.tests</groupId><artifactId>jars-{id}</artifactId><version>1</version>\
         <dependencies>{dependencies}</dependencies></project>\n"
    ))
}

#[cfg(test)]
mod tests {
    use super::pom;

    #[test]
    fn a_coordinate_may_name_its_file_type_and_classifier() {
        let text = pom(&["g:a:1:tar.gz:plugin", "g:b:2"]).expect("both are well formed");
        assert!(text.contains("<version>1</version><type>tar.gz</type><classifier>plugin</classifier>"));
        assert!(text.contains("<artifactId>b</artifactId><version>2</version></dependency>"));
        assert!(pom(&["g:a"]).is_err());
    }
}
