//! The steps of the example.

use std::time::{Duration, Instant};

use crate::{
    Outcome,
    instance::{API, CLIENT},
    machine::Machine,
};

/// The time after which a step has failed.
const PATIENCE: Duration = Duration::from_secs(60);

/// One logout, which the first instance is told.
pub(crate) async fn a_logout_holds_everywhere(machine: &Machine) -> Outcome<()> {
    println!("Three instances behind HAProxy at {}, one Redis.\n", machine.proxy);
    machine.are("current").await?;
    let (alice, bob) = (machine.token("alice"), machine.token("bob"));
    println!("alice asks six times, and HAProxy takes the instances in turn:");
    for _ in 0..6 {
        let (status, body) = machine.get(&machine.proxy, &alice).await?;
        println!("  {status} {body}");
        expect(status, 200)?;
    }
    println!("\nalice logs out. The authorization server tells instance one:");
    let status = machine.log_out(0, "alice").await?;
    println!("  {status} from /backchannel-logout");
    expect(status, 200)?;
    let start = Instant::now();
    for at in 0..machine.instances.len() {
        machine.refuses(at, &alice).await?;
    }
    println!("  all instances refuse alice, {} ms later", start.elapsed().as_millis());
    for _ in 0..3 {
        let (status, body) = machine.get(&machine.proxy, &alice).await?;
        println!("  alice: {status} {body}");
        expect(status, 401)?;
    }
    let (status, body) = machine.get(&machine.proxy, &bob).await?;
    println!("  bob:   {status} {body}");
    expect(status, 200)
}

/// Redis is killed, and starts again without data.
pub(crate) async fn redis_goes_away_and_comes_back(machine: &mut Machine) -> Outcome<()> {
    let carol = machine.token("carol");
    println!("\nRedis is killed:");
    machine.kill_redis();
    let (status, body) = machine.get(&machine.proxy, &carol).await?;
    println!("  carol: {status} {body}");
    expect(status, 200)?;
    machine.are("behind").await?;
    println!("  /ready of each instance says that cutoffs of the others may be missing");
    println!("carol logs out:");
    let status = machine.log_out(1, "carol").await?;
    println!(
        "  {status} from instance two, so the authorization server knows that it must repeat it"
    );
    expect(status, 503)?;
    let (own, _) = machine.get(&machine.instances[1], &carol).await?;
    let (other, _) = machine.get(&machine.instances[2], &carol).await?;
    println!("  instance two refuses carol ({own}), instance three does not know ({other})");
    expect(own, 401)?;
    expect(other, 200)?;

    println!("\nRedis starts again, without data:");
    machine.start_redis().await;
    machine.refuses(2, &carol).await?;
    println!("  instance three has been told, and refuses carol");
    machine.are("current").await?;
    println!("  all instances know the cutoffs of each other again");
    let alice = machine.token("alice");
    for at in 0..machine.instances.len() {
        machine.refuses(at, &carol).await?;
        // Alice has logged in again.
        expect(machine.get(&machine.instances[at], &alice).await?.0, 200)?;
    }
    Ok(())
}

/// Measures the time from a logout at one instance to the refusal by both others.
pub(crate) async fn measure(machine: &Machine, times: usize) -> Outcome<()> {
    machine.are("current").await?;
    let (mut acknowledged, mut refused) = (Vec::new(), Vec::new());
    for n in 0..times {
        let (user, by) = (format!("user-{n}"), n % 3);
        let token = machine.token(&user);
        for instance in &machine.instances {
            expect(machine.get(instance, &token).await?.0, 200)?;
        }
        let start = Instant::now();
        expect(machine.log_out(by, &user).await?, 200)?;
        acknowledged.push(start.elapsed());
        for at in (0..3).filter(|at| *at != by) {
            machine.refuses(at, &token).await?;
        }
        refused.push(start.elapsed());
    }
    for (what, mut took) in [
        ("the logout is acknowledged", acknowledged),
        ("both other instances have refused", refused),
    ] {
        took.sort_unstable();
        let at = |percent: usize| took[(took.len() - 1) * percent / 100].as_secs_f64() * 1e3;
        println!("{what}: p50 {:.1} ms, p99 {:.1} ms, of {times}", at(50), at(99));
    }
    Ok(())
}

fn expect(status: u16, expected: u16) -> Outcome<()> {
    if status == expected { Ok(()) } else { Err(format!("{status} instead of {expected}").into()) }
}

impl Machine {
    fn token(&self, subject: &str) -> String {
        self.authorization.jwt().subject(subject).audience(API).mint()
    }

    async fn get(&self, url: &str, token: &str) -> Outcome<(u16, String)> {
        let response = self.http.get(url).bearer_auth(token).send().await?;
        let status = response.status().as_u16();
        let challenge = response.headers().get("www-authenticate").cloned();
        let body = response.text().await?;
        let challenge = challenge.and_then(|field| field.to_str().map(str::to_owned).ok());
        Ok((status, challenge.unwrap_or(body)))
    }

    /// Tells an instance that a user has logged out, as an authorization server does.
    async fn log_out(&self, instance: usize, subject: &str) -> Outcome<u16> {
        let token = self.authorization.logout_token(CLIENT).subject(subject).mint();
        let url = format!("{}/backchannel-logout", self.instances[instance]);
        let request =
            self.http.post(url).header("content-type", "application/x-www-form-urlencoded");
        Ok(request.body(format!("logout_token={token}")).send().await?.status().as_u16())
    }

    /// Waits until an instance refuses a token.
    async fn refuses(&self, instance: usize, token: &str) -> Outcome<()> {
        self.becomes(async || Ok(self.get(&self.instances[instance], token).await?.0 == 401)).await
    }

    /// Waits until all instances know whether cutoffs may be missing.
    async fn are(&self, state: &str) -> Outcome<()> {
        let wanted = format!("\"cutoffs\":\"{state}\"");
        for instance in &self.instances {
            let url = format!("{instance}/ready");
            let is_so =
                async || Ok(self.http.get(&url).send().await?.text().await?.contains(&wanted));
            self.becomes(is_so).await?;
        }
        Ok(())
    }

    async fn becomes(&self, is_so: impl AsyncFn() -> Outcome<bool>) -> Outcome<()> {
        let waiting = async {
            while !is_so().await? {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            Ok(())
        };
        tokio::time::timeout(PATIENCE, waiting).await?
    }
}
