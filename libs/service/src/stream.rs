//! Answers that go on: until there are no more, the process stops, or the token that they were asked with expires or
//! is taken back.

use crate::{Call, Failure, World, auth::Unknown, status};
use futures::{
    StreamExt as _,
    stream::{self, BoxStream, Stream},
};
use std::time::Duration;
use tonic::{Code, Status};

impl World {
    /// The answers to a call. Whoever reads them is told why they end before their time, and so asks again.
    pub fn stream<T: Send + 'static>(
        &self,
        call: &Call,
        answers: impl Stream<Item = Result<T, Status>> + Send + 'static,
    ) -> BoxStream<'static, Result<T, Status>> {
        let stop = self.stop.clone();
        let left = u64::try_from(call.expires_ms - self.clock.now_ms()).unwrap_or_default();
        let revoked = self.auth.revoked(&call.caller.user, call.token.as_ref());
        let end = async move {
            tokio::select! {
                () = stop.cancelled() => status(Code::Unavailable, "STOPPING", "the service stops, ask again"),
                () = revoked => Failure::from(Unknown::Revoked).into(),
                () = tokio::time::sleep(Duration::from_millis(left)) => Failure::from(Unknown::Expired).into(),
            }
        };
        let open = (answers.boxed(), Box::pin(end));
        stream::unfold(Some(open), |open| async {
            let (mut answers, mut end) = open?;
            tokio::select! {
                biased;
                status = &mut end => Some((Err(status), None)),
                answer = answers.next() => answer.map(|answer| (answer, Some((answers, end)))),
            }
        })
        .boxed()
    }
}
