// Package extauthz answers Envoy's external authorization over gRPC (envoy.service.auth.v3.Authorization). It is one more
// contract: what Envoy sends becomes the same question, and the decision becomes the same answer.
package extauthz

import (
	"context"
	"net/http"
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"

	"apitokens.dev/operator/internal/audit"
	"apitokens.dev/operator/internal/authn"
	"apitokens.dev/operator/internal/authurl"
	"apitokens.dev/operator/webhook/gateway/contract"
)

// service implements the check. Its other methods do not exist.
type service struct {
	authv3.UnimplementedAuthorizationServer
	decider contract.Decider
	observe func(*audit.Exchange)
	// tracer may be nil.
	tracer trace.Tracer
}

// Check answers one question of Envoy. It never returns an error: Envoy could be configured to let requests pass then.
func (s *service) Check(ctx context.Context, r *authv3.CheckRequest) (*authv3.CheckResponse, error) {
	begun, observe := time.Now(), s.observe
	if s.tracer != nil {
		var span trace.Span
		ctx, span = contract.StartSpan(ctx, s.tracer, sent(ctx))
		defer span.End()
		observe = contract.Described(span, observe)
	}
	q := contract.NewQuestion()
	if p, ok := peer.FromContext(ctx); ok {
		q.Peer = p.Addr.String()
	}
	if read(r.GetAttributes(), q) {
		q.Site, q.Request.Certificate = q.Request.Site, certificate(ctx)
		q.Ask(s.decider)
	}
	answer := response(&q.Decision)
	q.Took = time.Since(begun)
	q.At = begun.Add(q.Took)
	observe(&q.Exchange)
	q.Free()
	return answer, nil
}

// sent returns what Envoy sent beside the question: the headers of its own span, not the client's.
func sent(ctx context.Context) http.Header {
	h := http.Header{}
	all, _ := metadata.FromIncomingContext(ctx)
	for name, values := range all {
		for _, value := range values {
			h.Add(name, value)
		}
	}
	return h
}

// read reads Envoy's description of the client's request (attribute_context.proto, v1.40): the raw path with the query,
// and the headers in either encoding. Without encode_raw_headers, Envoy joins several values by commas. Nothing else is read. It returns
// false if the route is not configured as the contract requires.
func read(a *authv3.AttributeContext, q *contract.Question) bool {
	extensions, r := a.GetContextExtensions(), a.GetRequest().GetHttp()
	h := headers(r)
	namespace, name, ok := strings.Cut(extensions[authurl.SiteExtension], "/")
	q.Request = authn.Request{
		Contract: authurl.GRPC, CallerKey: extensions[authurl.KeyExtension], Site: authn.SiteName{Namespace: namespace, Name: name},
		Authorization: h["authorization"], Cookies: h["cookie"], Target: r.GetPath(), Method: r.GetMethod(),
		Client: authn.Client{Address: a.GetSource().GetAddress().GetSocketAddress().GetAddress(), Forwarded: h["x-forwarded-for"]},
	}
	if !ok || !strings.HasPrefix(q.Request.Target, "/") {
		return false
	}
	path, _, _ := strings.Cut(q.Request.Target, "?")
	q.Claimed = audit.Claimed{Client: q.Request.Client.Address, Method: q.Request.Method, Path: path, RequestID: r.GetId()}
	return true
}

// headers returns the client's headers by their names in lower case.
func headers(r *authv3.AttributeContext_HttpRequest) map[string][]string {
	all := map[string][]string{}
	for _, h := range r.GetHeaderMap().GetHeaders() {
		value := h.GetValue()
		if raw := h.GetRawValue(); len(raw) > 0 {
			value = string(raw)
		}
		name := strings.ToLower(h.GetKey())
		all[name] = append(all[name], value)
	}
	for name, value := range r.GetHeaders() {
		name = strings.ToLower(name)
		all[name] = append(all[name], value)
	}
	return all
}

// response returns the answer to a decision in Envoy's form (external_auth.proto, v1.40).
func response(d *authn.Decision) *authv3.CheckResponse {
	a := contract.AnswerTo(d)
	switch a.Code {
	case http.StatusOK:
		return allowed(d, &a)
	case http.StatusUnauthorized:
		return &authv3.CheckResponse{Status: &status.Status{Code: int32(codes.Unauthenticated)}, HttpResponse: &authv3.CheckResponse_DeniedResponse{
			DeniedResponse: denied(&a),
		}}
	case http.StatusForbidden:
		return &authv3.CheckResponse{Status: &status.Status{Code: int32(codes.PermissionDenied)}, HttpResponse: &authv3.CheckResponse_DeniedResponse{
			DeniedResponse: denied(&a),
		}}
	default:
		// The status is not OK, so that an Envoy that does not know error_response denies too.
		return &authv3.CheckResponse{Status: &status.Status{Code: int32(codes.Unavailable)}, HttpResponse: &authv3.CheckResponse_ErrorResponse{
			ErrorResponse: denied(&a),
		}}
	}
}

// allowed returns a response that sets the headers with a value and removes the others. The client's own credential stays as
// it is if it is forwarded: without encode_raw_headers, Envoy has changed what it sent here.
func allowed(d *authn.Decision, a *contract.Answer) *authv3.CheckResponse {
	own := func(name string) bool { return d.Verdict == authn.Forward && name == "Authorization" }
	ok := &authv3.OkHttpResponse{}
	for _, h := range a.Headers() {
		if h.Value != "" && !own(h.Name) {
			ok.Headers = append(ok.Headers, option(h))
		}
	}
	for _, name := range a.Remove() {
		if !own(name) {
			ok.HeadersToRemove = append(ok.HeadersToRemove, strings.ToLower(name))
		}
	}
	return &authv3.CheckResponse{Status: &status.Status{Code: int32(codes.OK)}, HttpResponse: &authv3.CheckResponse_OkResponse{OkResponse: ok}}
}

func denied(a *contract.Answer) *authv3.DeniedHttpResponse {
	d := &authv3.DeniedHttpResponse{Status: &typev3.HttpStatus{Code: typev3.StatusCode(a.Code)}}
	for _, h := range a.Headers() {
		d.Headers = append(d.Headers, option(h))
	}
	return d
}

// option sets a header, and replaces the client's.
func option(h contract.Header) *corev3.HeaderValueOption {
	return &corev3.HeaderValueOption{
		Header:       &corev3.HeaderValue{Key: strings.ToLower(h.Name), Value: h.Value},
		AppendAction: corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD,
	}
}
