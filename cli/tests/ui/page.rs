//! The page in a browser.

use std::path::Path;

use serde_json::json;
use testing::webdriver::{Browser, CONTROL, ENTER, RIGHT, SPACE, TAB};
use tower_introspect::{clock::UnixTime, test_util::AuthorizationServer};

use crate::{
    program::Ui,
    results::{config, minted},
    run::{AUDIENCE, NOW, claims, good, header, sign, with},
};

/// Checks that the browser had no reason to complain, and sent requests to the page only.
async fn assert_quiet(browser: &Browser, ui: &Ui) {
    assert_eq!(browser.console().await, Vec::<String>::new());
    let requests = browser.requests().await;
    assert!(!requests.is_empty());
    for url in requests {
        assert!(url.starts_with(&ui.url), "a request to {url}");
        assert!(!url.contains("eyJ"), "a token in {url}");
    }
}

/// Checks that nothing is wider than the window.
async fn assert_fits(browser: &Browser) {
    let script = "const { scrollWidth, clientWidth } = document.scrollingElement; \
                  return [scrollWidth, clientWidth]";
    let widths = browser.script(script).await;
    assert_eq!(widths[0], widths[1], "it scrolls sideways");
}

/// Takes screenshots in both schemes, of a wide and of a narrow window.
async fn screenshots(browser: &Browser, name: &str) {
    for (form, width) in [("wide", 1280), ("narrow", 360)] {
        for colours in ["light", "dark"] {
            browser.looks(width, 900, colours).await;
            assert_fits(browser).await;
            let height = browser.script("return document.documentElement.scrollHeight").await;
            let height = u32::try_from(height.as_u64().unwrap()).unwrap().min(4000);
            browser.looks(width, height.max(700), colours).await;
            let file = format!("ui-{name}-{form}-{colours}.png");
            browser.screenshot(&Path::new(env!("CARGO_TARGET_TMPDIR")).join(file)).await;
        }
    }
    browser.looks(1280, 900, "light").await;
}

async fn focus(browser: &Browser) -> String {
    let focused = browser
        .script(
            "const { id, value, tagName } = document.activeElement; \
                 return id || value || tagName.toLowerCase()",
        )
        .await;
    focused.as_str().unwrap().to_owned()
}

/// Presses Tab until this element has the focus.
async fn tab_to(browser: &Browser, id: &str) {
    for _ in 0..30 {
        if focus(browser).await == id {
            let visible = "const focused = document.activeElement; \
                 const shown = focused.type === 'radio' ? focused.nextElementSibling : focused; \
                 return getComputedStyle(shown).outlineStyle !== 'none'";
            assert_eq!(browser.script(visible).await, true, "the focus on {id} is not visible");
            return;
        }
        browser.types(TAB).await;
    }
    panic!("Tab never reaches {id}");
}

#[tokio::test]
async fn tokens_are_decoded_as_they_are_typed() {
    Browser::run(async |browser| {
        let ui = Ui::start(&[]).await;
        browser.open(&ui.url).await;
        assert_eq!(focus(browser).await, "token");
        screenshots(browser, "empty").await;
        browser.types("Bearer abc").await;
        browser.shows("NOT VERIFIED").await;
        browser.shows("a service would refuse it as pasted").await;
        browser.script("document.getElementById('clear').click()").await;
        browser.waits_for("document.getElementById('verdict').textContent === ''").await;
        browser.pastes(&good()).await;
        browser.shows("https://as.example.com").await;
        let verdict = "document.getElementById('verdict').textContent.startsWith('NOT VERIFIED')";
        browser.waits_for(verdict).await;
        screenshots(browser, "decode").await;
        assert_quiet(browser, &ui).await;
        let kept = "return [localStorage.length, sessionStorage.length, document.cookie, \
                    location.href, history.length]";
        assert_eq!(browser.script(kept).await, json!([0, 0, "", ui.url, 2]));
    })
    .await;
}

#[tokio::test]
async fn page_that_is_left_keeps_nothing() {
    Browser::run(async |browser| {
        let ui = Ui::start(&[]).await;
        browser.open(&ui.url).await;
        let quiet = "return [...document.querySelectorAll('textarea, input:not([type])')].every( \
             (one) => one.getAttribute('spellcheck') === 'false' || one.inputMode === 'numeric') \
             && !document.documentElement.translate && document.forms[0].autocomplete === 'off'";
        assert_eq!(browser.script(quiet).await, true);
        for leave in ["history.go(0)", "location = 'about:blank'"] {
            browser.pastes(&good()).await;
            browser.shows("NOT VERIFIED").await;
            browser.script("window.former = true").await;
            browser.script(leave).await;
            browser.waits_for("!window.former").await;
            browser.open(&ui.url).await;
            browser.waits_for("document.readyState === 'complete'").await;
            let kept = "return document.getElementById('token').value + document.getElementById('verdict').textContent";
            assert_eq!(browser.script(kept).await, "");
        }
        browser.script("history.back(); window.former = true").await;
        browser.waits_for("!window.former").await;
        browser.script("history.forward(); window.former = true").await;
        browser.waits_for("!window.former && document.readyState === 'complete'").await;
        assert_eq!(browser.script("return document.getElementById('token').value").await, "");
    })
    .await;
}

#[tokio::test]
async fn page_says_that_the_program_has_ended() {
    Browser::run(async |browser| {
        let ui = Ui::start(&[]).await;
        browser.open(&ui.url).await;
        ui.output().await;
        browser.pastes(&good()).await;
        browser.shows("The program can't be reached.").await;
    })
    .await;
}

#[tokio::test]
async fn hostile_text_is_shown_as_text() {
    Browser::run(async |browser| {
        let ui = Ui::start(&[]).await;
        browser.open(&ui.url).await;
        let evil = "<img src=x onerror=\"document.title='evil'\"><script>document.title='evil'</script>\u{202e}\u{1b}";
        let long = "W".repeat(3000);
        let token = sign(&header(), &with(claims(), json!({"sub": evil, (evil): long})));
        browser.pastes(&token).await;
        browser.shows("onerror=\"document.title='evil'\"").await;
        let found = "return [document.title, document.images.length, document.scripts.length]";
        assert_eq!(browser.script(found).await, json!(["introspect", 0, 1]));
        browser.looks(360, 800, "light").await;
        assert_fits(browser).await;
        assert_quiet(browser, &ui).await;
    })
    .await;
}

#[tokio::test]
async fn policy_of_the_page_stops_what_a_script_must_not_do() {
    Browser::run(async |browser| {
        let (server, _listening) = AuthorizationServer::on_loopback().await.unwrap();
        let ui = Ui::start(&[]).await;
        browser.open(&ui.url).await;
        for attack in [
            "const made = document.createElement('script'); made.append('document.title = 1'); \
             document.body.append(made)",
            "document.body.innerHTML = '<p>'",
            "document.body.setAttribute('onclick', 'document.title = 2'); document.body.click()",
            &format!("fetch('{}/').catch(() => {{}})", server.issuer()),
            &format!("new Image().src = '{}/'", server.issuer()),
            "document.body.append(document.createElement('style'))",
        ] {
            let script = format!("try {{ {attack} }} catch {{}}");
            browser.script(&script).await;
            let mut said = Vec::new();
            while said.is_empty() {
                said = browser.console().await;
            }
            assert!(
                said.iter().any(
                    |text| text.contains("Content Security Policy") || text.contains("Trusted")
                ),
                "{attack}: {said:?}"
            );
        }
        assert_eq!(browser.script("return document.title").await, "introspect");
    })
    .await;
}

#[tokio::test]
async fn tokens_are_verified_with_the_keyboard_alone() {
    Browser::run(async |browser| {
        let (server, _listening) = AuthorizationServer::on_loopback().await.unwrap();
        let ui = Ui::start(&[]).await;
        let (good, expired) = (minted(&server, 300), minted(&server, -300));
        let id = server.id_token().subject("alice").audience(AUDIENCE).claim("nonce", json!("n"));
        let id = id.issued_at(UnixTime::from_secs(NOW)).expires_at(UnixTime::from_secs(NOW + 300));
        let id = id.mint();

        browser.open(&ui.url).await;
        browser.pastes(&format!("Authorization: Bearer {good}")).await;
        tab_to(browser, "decode").await;
        browser.types(RIGHT).await;
        // The settings that are missing are named, and the first is focused.
        browser.chord(CONTROL, ENTER).await;
        assert_eq!(focus(browser).await, "issuer");
        browser.types(server.issuer()).await;
        tab_to(browser, "audience").await;
        browser.types(AUDIENCE).await;
        tab_to(browser, "scope").await;
        browser.types("read").await;
        browser.types(TAB).await;
        browser.types(ENTER).await;
        tab_to(browser, "http").await;
        browser.types(SPACE).await;
        browser.types(ENTER).await;
        browser.shows("ACCEPTED").await;
        browser.shows("a service would refuse it as pasted").await;
        screenshots(browser, "accepted").await;

        for (token, name, texts) in [
            (&expired, "expired", ["REFUSED", "expired", "Get a new token"]),
            (&id, "id-token", ["REFUSED", "wrong_token_kind", "Have the client send"]),
        ] {
            tab_to(browser, "token").await;
            browser.chord(CONTROL, "a").await;
            browser.pastes(token).await;
            browser.chord(CONTROL, ENTER).await;
            for text in texts {
                browser.shows(text).await;
            }
            // The list of all checks is folded.
            browser.waits_for("!document.querySelector('#blocks details').open").await;
            screenshots(browser, name).await;
        }
        tab_to(browser, "button").await;
        browser.types(TAB).await;
        browser.types(ENTER).await;
        browser.waits_for("document.querySelector('#blocks details').open").await;
        screenshots(browser, "all-checks").await;
        assert_quiet(browser, &ui).await;
    })
    .await;
}

#[tokio::test]
async fn responses_of_the_service_are_explained() {
    Browser::run(async |browser| {
        let ui = Ui::start(&["--config", &config()]).await;
        browser.open(&ui.url).await;
        browser.pastes(&good()).await;
        tab_to(browser, "decode").await;
        browser.types(RIGHT).await;
        browser.types(RIGHT).await;
        tab_to(browser, "method").await;
        browser.types("POST").await;
        tab_to(browser, "path").await;
        browser.types("/payments").await;
        browser.types(ENTER).await;
        browser.shows("ACCEPTED").await;
        browser.shows("POST /payments").await;
        screenshots(browser, "explain").await;
        tab_to(browser, "header").await;
        browser.types("Authorization: Basic dTpw").await;
        browser.chord(CONTROL, ENTER).await;
        browser.shows("REFUSED").await;
        assert_quiet(browser, &ui).await;

        let without = Ui::start(&[]).await;
        browser.open(&without.url).await;
        let hidden = "document.querySelector('[data-explain]').hidden";
        browser.waits_for(hidden).await;
    })
    .await;
}
