package main

import "strings"

// proxyConfig is a proxy and its settings.
type proxyConfig struct {
	name     string
	haproxy  bool
	settings string
	odd      bool // see route
}

// proxies are the routes through proxies. docs/clients.md recommends the settings of the
// first of each kind.
var proxies = []proxyConfig{
	{name: "nginx", settings: `
		client_max_body_size 0;
		proxy_http_version 1.1;
		proxy_request_buffering off;
		proxy_read_timeout 20m;
		proxy_send_timeout 20m;
		lingering_time 20m;
		lingering_timeout 60s;`},
	{name: "HAProxy", haproxy: true, settings: `
	timeout client 20m
	timeout server 20m`},
	{name: "nginx, as it comes", odd: true},
	{name: "nginx, `client_max_body_size 0`", odd: true, settings: `
		client_max_body_size 0;`},
	{name: "nginx, streaming, but no `lingering_time`", odd: true, settings: `
		client_max_body_size 0;
		proxy_http_version 1.1;
		proxy_request_buffering off;
		proxy_read_timeout 20m;
		proxy_send_timeout 20m;`},
	{name: "HAProxy, time-outs of 30 s", odd: true, haproxy: true, settings: `
	timeout client 30s
	timeout server 30s`},
}

const nginxConfig = `
user USER;
daemon off;
worker_processes 1;
pid HOME/pid;
error_log stderr;
events {}
http {
	access_log off;
	client_body_temp_path HOME/body;
	proxy_temp_path HOME/proxy;
	server {
		listen LISTEN ssl;
		ssl_certificate FOLDER/cert.pem;
		ssl_certificate_key FOLDER/key.pem;
SETTINGS
		location / { proxy_pass http://SERVER; }
	}
}
`

const haproxyConfig = `
defaults
	mode http
	timeout connect 5s
SETTINGS
frontend symbols
	bind LISTEN ssl crt FOLDER/both.pem
	default_backend spillway
backend spillway
	server one SERVER
`

// text returns the configuration, with capitals for what differs between runs.
func (c proxyConfig) text() string {
	config := nginxConfig
	if c.haproxy {
		config = haproxyConfig
	}
	return strings.Replace(config, "SETTINGS", strings.Trim(c.settings, "\n"), 1)
}

// command returns the command that runs the proxy.
func (c proxyConfig) command(home, config string) []string {
	if c.haproxy {
		return []string{"/usr/sbin/haproxy", "-db", "-f", config}
	}
	return []string{"/usr/sbin/nginx", "-p", home, "-e", "stderr", "-c", config}
}
