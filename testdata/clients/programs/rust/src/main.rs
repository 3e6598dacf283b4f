//! Sends the upload with reqwest, in the calls of the official client, and shows what it
//! shows. See run.go.

use reqwest::{multipart, Body, Client};
use std::env::var;
use std::error::Error;

fn say(key: &str, value: impl ToString) {
    println!("{key}: {}", value.to_string().split_whitespace().collect::<Vec<_>>().join(" "));
}

#[tokio::main]
async fn main() {
    if let Err(e) = send().await {
        let mut text = e.to_string();
        let mut cause = e.source();
        while let Some(e) = cause {
            text += &format!(": {e}");
            cause = e.source();
        }
        say("failed", text);
    }
}

async fn send() -> Result<(), Box<dyn Error>> {
    let file = tokio::fs::File::open(var("ARCHIVE")?).await?;
    let length = file.metadata().await?.len();
    let part = multipart::Part::stream_with_length(Body::from(file), length).file_name("symbols.zip");
    let form = multipart::Form::new().part("symbols.zip", part);
    let mut request = Client::new().post(var("URL")?).multipart(form);
    if !var("TOKEN")?.is_empty() {
        request = request.header("auth-token", var("TOKEN")?);
    }
    let response = request.send().await?;
    let status = response.status().as_u16();
    let body = response.text().await?;
    say("status", status);
    say("body", &body);
    let answer: serde_json::Value = serde_json::from_str(&body)?;
    say("shown", format!("status {status} response from symbols server: {}", answer["error"]));
    Ok(())
}
