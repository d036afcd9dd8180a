//! What the documents say of credentials: the scheme, and the refusals that every route shares.

use utoipa::Modify;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{ContentBuilder, OpenApi, Ref, Response, ResponseBuilder};

/// The scheme's name.
const TOKEN: &str = "token";
/// Routes that nobody is asked for a credential at.
const OPEN: [&str; 2] = ["/healthz", "/readyz"];

/// Adds the scheme and the refusals.
pub(super) struct Credentials;

impl Modify for Credentials {
    fn modify(&self, document: &mut OpenApi) {
        let scheme = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some("A token of [access] in serin.toml. Without [access] none is needed, on this machine."))
            .build();
        document.components.get_or_insert_default().add_security_scheme(TOKEN, SecurityScheme::Http(scheme));
        let none: [&str; 0] = [];
        document.security = Some(vec![SecurityRequirement::default(), SecurityRequirement::new(TOKEN, none)]);
        for (path, item) in &mut document.paths.paths {
            if OPEN.contains(&path.as_str()) {
                continue;
            }
            let operations = [&mut item.get, &mut item.post, &mut item.put, &mut item.delete];
            for operation in operations.into_iter().flatten() {
                for (status, why) in [
                    ("401", "No credential, or one that is not accepted"),
                    ("403", "The credential lacks the role, or its roles are for other decision points"),
                    ("414", "The path and its query are longer than what the audit notes: 1,024 bytes"),
                    ("429", "Too many requests of this address or identity were refused; see Retry-After"),
                ] {
                    operation.responses.responses.entry(status.to_owned()).or_insert_with(|| refusal(why).into());
                }
            }
        }
    }
}

fn refusal(why: &str) -> Response {
    let problem = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build();
    ResponseBuilder::new().description(why).content("application/problem+json", problem).build()
}
