//! What the engine may ask while it builds: the secrets of the build, and how to log in at a registry. Nothing of it is
//! written anywhere; the engine puts secrets into memory of the steps that mount them, and into no layer.

use super::wire::{post, tunnel};
use bollard::errors::Error;
use bollard_buildkit_proto::moby::{
    buildkit::secrets::v1::{
        GetSecretRequest, GetSecretResponse,
        secrets_server::{Secrets, SecretsServer},
    },
    filesync::v1::{
        CredentialsRequest, CredentialsResponse, FetchTokenRequest, FetchTokenResponse, GetTokenAuthorityRequest,
        GetTokenAuthorityResponse, VerifyTokenAuthorityRequest, VerifyTokenAuthorityResponse,
        auth_server::{Auth, AuthServer},
    },
};
use hyper::server::conn::http2;
use hyper_util::{rt::TokioExecutor, service::TowerToHyperService};
use proto::builder::v1::BuildCredentials;
use std::{
    convert::Infallible,
    future::{Future, pending},
    sync::Arc,
};
use tonic::{Code, Request, Response, Status, service::Routes};

/// What the engine is told that it may ask.
const METHODS: [&str; 3] = [
    "/grpc.health.v1.Health/Check",
    "/moby.buildkit.secrets.v1.Secrets/GetSecret",
    "/moby.filesync.v1.Auth/Credentials",
];

#[derive(Clone)]
struct Given(Arc<BuildCredentials>);

/// Opens a session. The engine is answered as long as the future is polled that comes back, which never ends: a build
/// tells by its own connection what became of it.
pub(super) async fn open(
    host: &str,
    id: &str,
    given: BuildCredentials,
) -> Result<impl Future<Output = Infallible> + Send + use<>, Error> {
    let request = post("/session")
        .header("X-Docker-Expose-Session-Uuid", id)
        .header("X-Docker-Expose-Session-Name", "cooperage");
    let request = METHODS.iter().fold(request, |request, method| {
        request.header("X-Docker-Expose-Session-Grpc-Method", *method)
    });
    let tunnel = tunnel(host, request).await?;
    let given = Given(Arc::new(given));
    let (_, health) = tonic_health::server::health_reporter();
    let routes = Routes::new(health)
        .add_service(SecretsServer::new(given.clone()))
        .add_service(AuthServer::new(given));
    // Only answers run on tasks of their own, and those wait for nothing but the connection.
    let served = http2::Builder::new(TokioExecutor::new()).serve_connection(tunnel, TowerToHyperService::new(routes));
    Ok(async {
        if let Err(error) = served.await {
            tracing::debug!(error = &error as &dyn std::error::Error, "the engine left its session");
        }
        pending().await
    })
}

#[tonic::async_trait]
impl Secrets for Given {
    async fn get_secret(&self, request: Request<GetSecretRequest>) -> Result<Response<GetSecretResponse>, Status> {
        let id = request.into_inner().id;
        let found = self.0.secrets.get(&id);
        let found = found.ok_or_else(|| service::status(Code::NotFound, "NO_SUCH_SECRET", "no such secret"))?;
        Ok(Response::new(GetSecretResponse { data: found.to_vec() }))
    }
}

#[tonic::async_trait]
impl Auth for Given {
    /// Nothing where nothing was given: the engine tries without.
    async fn credentials(&self, request: Request<CredentialsRequest>) -> Result<Response<CredentialsResponse>, Status> {
        let host = registry(&request.get_ref().host).to_owned();
        let found = self.0.registries.iter().find(|given| registry(&given.host) == host);
        Ok(Response::new(found.map_or_else(
            CredentialsResponse::default,
            |given| CredentialsResponse {
                username: given.user.clone(),
                secret: given.password.clone(),
            },
        )))
    }

    // The engine fetches tokens itself then.
    async fn fetch_token(&self, _: Request<FetchTokenRequest>) -> Result<Response<FetchTokenResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn get_token_authority(
        &self,
        _: Request<GetTokenAuthorityRequest>,
    ) -> Result<Response<GetTokenAuthorityResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn verify_token_authority(
        &self,
        _: Request<VerifyTokenAuthorityRequest>,
    ) -> Result<Response<VerifyTokenAuthorityResponse>, Status> {
        Err(Status::unimplemented(""))
    }
}

/// Docker Hub has several names.
fn registry(host: &str) -> &str {
    match host {
        "" | "docker.io" | "index.docker.io" | "https://index.docker.io/v1/" => "registry-1.docker.io",
        host => host,
    }
}
