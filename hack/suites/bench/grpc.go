package main

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"

	"apitokens.dev/operator/internal/authurl"
)

// Envoy has a connection for each of its threads, and asks many questions on each at once.
const grpcConnections, grpcStreams = 4, 8

// bareCheck answers with the same headers as a webhook, without looking at the question.
type bareCheck struct {
	authv3.UnimplementedAuthorizationServer
}

// Check implements authv3.AuthorizationServer.
func (bareCheck) Check(context.Context, *authv3.CheckRequest) (*authv3.CheckResponse, error) {
	ok := &authv3.OkHttpResponse{HeadersToRemove: []string{"cookie"}}
	for _, h := range [...][2]string{
		{"x-forwarded-user", "user-1"}, {"x-api-token-id", "asp_DquJoZLwlsNJm6gU"}, {"authorization", "Bearer " + pat}, {"x-api-token-target", "/jira" + path},
	} {
		ok.Headers = append(ok.Headers, &corev3.HeaderValueOption{
			Header: &corev3.HeaderValue{Key: h[0], Value: h[1]}, AppendAction: corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD,
		})
	}
	return &authv3.CheckResponse{Status: &status.Status{}, HttpResponse: &authv3.CheckResponse_OkResponse{OkResponse: ok}}, nil
}

// checks are questions of Envoy to a server.
type checks struct {
	address   string
	questions []*authv3.CheckRequest
	// connections are there from the first question on.
	connections []authv3.AuthorizationClient
}

// newChecks returns questions about requests with valid tokens, with the headers that a client and Envoy send.
func newChecks(address string, credentials []string) *checks {
	c := &checks{address: address}
	for _, credential := range credentials {
		c.questions = append(c.questions, &authv3.CheckRequest{Attributes: &authv3.AttributeContext{
			ContextExtensions: map[string]string{authurl.SiteExtension: jira.String(), authurl.KeyExtension: callerKey},
			Source: &authv3.AttributeContext_Peer{Address: &corev3.Address{Address: &corev3.Address_SocketAddress{
				SocketAddress: &corev3.SocketAddress{Address: "192.0.2.1", PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: 4711}},
			}}},
			Request: &authv3.AttributeContext_Request{Http: &authv3.AttributeContext_HttpRequest{
				Id: "1234567890", Method: "GET", Path: "/jira" + path, Host: "jira.example.com", Scheme: "https", Protocol: "HTTP/1.1",
				Headers: map[string]string{
					":authority": "jira.example.com", ":method": "GET", ":path": "/jira" + path, ":scheme": "https", "accept": "*/*",
					"authorization": credential, "user-agent": "curl/8.5.0", "x-forwarded-for": "192.0.2.1", "x-forwarded-proto": "https",
					"x-request-id": "2f1d8a52-8a5f-4c0e-9d5b-0c6f3a6f3d1e",
				},
			}},
		}})
	}
	return c
}

// connect makes the connections, if there are none.
func (c *checks) connect() error {
	for len(c.connections) < grpcConnections {
		conn, err := grpc.NewClient(c.address, grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			return fmt.Errorf("connecting: %w", err)
		}
		c.connections = append(c.connections, authv3.NewAuthorizationClient(conn))
	}
	return nil
}

// run asks for a slice of time. It returns how many questions were answered.
func (c *checks) run() (int, error) {
	if err := c.connect(); err != nil {
		return 0, err
	}
	var (
		asked atomic.Int64
		group sync.WaitGroup
		fault atomic.Value
		until = time.Now().Add(slice)
	)
	for _, envoy := range c.connections {
		for range grpcStreams {
			group.Go(func() {
				for time.Now().Before(until) && fault.Load() == nil {
					answer, err := envoy.Check(context.Background(), c.questions[int(asked.Add(1))%len(c.questions)])
					if code := codes.Code(answer.GetStatus().GetCode()); err != nil || code != codes.OK {
						fault.Store(fmt.Errorf("asking for Envoy: answered %s: %w", code, err))
					}
				}
			})
		}
	}
	group.Wait()
	err, _ := fault.Load().(error)
	return int(asked.Load()), err
}
