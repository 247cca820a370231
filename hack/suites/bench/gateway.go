package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"apitokens.dev/operator/hack/lib/controlplane"
)

// through compares what users see: requests through an nginx with the sample configuration that asks a webhook, and through one that
// asks a bare server.
var through = group{
	name: "gateway", measure: measureGateway,
	figures: []figure{
		{"gateway_path_vs_floor", atLeast(0.9), "requests a second through nginx with the sample, over nginx that asks a bare server"},
		{"gateway_webhook_cpu_us", goal{}, "CPU of the webhook for each of them in microseconds"},
	},
}

func measureGateway(b *bench) (map[string]float64, error) {
	b.Versions["nginx"] = nginxVersion()
	var servers [3]*server
	for i, role := range [...]string{"floor", "floor", "webhook"} {
		s, err := startServer(role)
		if err != nil {
			return nil, err
		}
		servers[i] = s
		defer func() { _, _ = s.stop() }()
	}
	product, floor, webhook := servers[0], servers[1], servers[2]
	asked, end, err := startNginx(product.HTTP, webhook.HTTP)
	if err != nil {
		return nil, err
	}
	defer end()
	bare, end, err := startNginx(product.HTTP, floor.HTTP)
	if err != nil {
		return nil, err
	}
	defer end()
	return compare(b, webhook, clients(asked, webhook.Credentials), clients(bare, webhook.Credentials))
}

// compare asks through both gateways in turn.
func compare(b *bench, webhook *server, asked, bare load) (map[string]float64, error) {
	var ratios, costs []float64
	for range b.rounds {
		before, err := bare.run(2 * slice)
		if err != nil {
			return nil, fmt.Errorf("through nginx that asks a bare server: %w", err)
		}
		cost, n, err := costOf(webhook, func() (int, error) {
			after, err := asked.run(2 * slice)
			return len(after), err
		})
		if err != nil {
			return nil, fmt.Errorf("through nginx that asks a webhook: %w", err)
		}
		ratios, costs = append(ratios, float64(n)/float64(len(before))), append(costs, cost/1e3)
	}
	return map[string]float64{"gateway_path_vs_floor": median(ratios), "gateway_webhook_cpu_us": median(costs)}, nil
}

// clients are what users of a site send.
func clients(address string, credentials []string) load {
	const head = "GET /jira" + path + " HTTP/1.1\r\nHost: jira.example.com\r\nUser-Agent: curl/8.5.0\r\nAccept: */*\r\nAuthorization: "
	l := load{address: address, connections: 64, status: statusOK}
	for _, credential := range credentials {
		l.requests = append(l.requests, []byte(head+credential+"\r\n\r\n"))
	}
	return l
}

// startNginx starts an nginx with the sample configuration. It returns its address, and what ends it.
func startNginx(product, webhook string) (address string, end func(), err error) {
	if address, err = freeAddress(); err != nil {
		return "", nil, err
	}
	folder, err := os.MkdirTemp("", "bench-nginx")
	if err != nil {
		return "", nil, fmt.Errorf("making a folder for nginx: %w", err)
	}
	file := filepath.Join(folder, "nginx.conf")
	config, err := nginxConfig(folder, address, product, webhook)
	// The workers of nginx are another user.
	if err = errors.Join(err, os.Chmod(folder, 0o755), os.WriteFile(file, []byte(config), 0o600)); err != nil {
		return "", nil, fmt.Errorf("writing the configuration of nginx: %w", err)
	}
	command := exec.CommandContext(context.Background(), "nginx", "-c", file, "-p", folder, "-e", "stderr")
	command.Stderr = os.Stderr
	if err := command.Start(); err != nil {
		return "", nil, fmt.Errorf("starting nginx: %w", err)
	}
	end = func() {
		_ = command.Process.Signal(syscall.SIGTERM)
		_ = command.Wait()
		_ = os.RemoveAll(folder)
	}
	if err := awaitListener(address); err != nil {
		end()
		return "", nil, err
	}
	return address, end, nil
}

// nginxConfig returns the sample of nginx, within what it is included in.
func nginxConfig(folder, address, product, webhook string) (string, error) {
	sample, err := os.ReadFile(filepath.Join(controlplane.RepositoryRoot(), "config/samples/nginx.conf"))
	if err != nil {
		return "", fmt.Errorf("reading the sample of nginx: %w", err)
	}
	config := "daemon off;\npid FOLDER/pid;\nworker_processes 1;\nevents { worker_connections 1024; }\nhttp {\naccess_log off;\n" +
		"client_body_temp_path FOLDER/1;\nproxy_temp_path FOLDER/2;\nfastcgi_temp_path FOLDER/3;\nuwsgi_temp_path FOLDER/4;\nscgi_temp_path FOLDER/5;\n" +
		string(sample) + "}\n"
	return strings.NewReplacer(
		"FOLDER/", folder+"/", "server PRODUCT;", "server "+product+";", "server WEBHOOK ", "server "+webhook+" ", "server PORTAL ", "server "+webhook+" ",
		`"CALLER_KEY"`, `"`+callerKey+`"`, "/SITE", "/"+jira.String(), "BASE_URL", "https://jira.example.com", "listen LISTEN;", "listen "+address+";",
		"server_name HOST;", "server_name jira.example.com;").Replace(config), nil
}

func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("looking for a port: %w", err)
	}
	return l.Addr().String(), l.Close()
}

func awaitListener(address string) (err error) {
	for range 100 {
		var conn net.Conn
		if conn, err = net.Dial("tcp", address); err == nil {
			return conn.Close()
		}
		<-time.After(100 * time.Millisecond)
	}
	return fmt.Errorf("waiting for nginx: %w", err)
}

func nginxVersion() string {
	out, _ := exec.CommandContext(context.Background(), "nginx", "-v").CombinedOutput()
	_, version, _ := bytes.Cut(bytes.TrimSpace(out), []byte("nginx/"))
	return string(version)
}
