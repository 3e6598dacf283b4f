package main

import (
	"strings"

	"spillway/testdata/proxy"
)

// shipped stands for the settings in the folder deploy.
const shipped = "deploy"

// proxyConfig is a proxy and its settings.
type proxyConfig struct {
	name     string
	kind     proxy.Kind
	settings string
	odd      bool // see route
}

// proxies are the routes through proxies.
var proxies = []proxyConfig{
	{name: "nginx", settings: shipped},
	{name: "HAProxy", kind: proxy.HAProxy, settings: shipped},
	{name: "nginx, as it comes", odd: true},
	{name: "nginx, `client_max_body_size 0`", odd: true, settings: `
		client_max_body_size 0;`},
	{name: "nginx, streaming, but no `lingering_time`", odd: true, settings: `
		client_max_body_size 0;
		proxy_http_version 1.1;
		proxy_request_buffering off;
		proxy_read_timeout 20m;
		proxy_send_timeout 20m;`},
	{name: "HAProxy, time-outs of 30 s", odd: true, kind: proxy.HAProxy, settings: `
	timeout client 30s
	timeout server 30s`},
}

// nginxServer is what the settings of nginx are in.
const nginxServer = `
	server {
		listen LISTEN ssl;
		ssl_certificate FOLDER/cert.pem;
		ssl_certificate_key FOLDER/key.pem;
SETTINGS
		location / { proxy_pass http://SERVER; }
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

// config returns the configuration as a function for [proxy.Start]. The certificate is in
// the folder.
func (c proxyConfig) config(folder, server string) func(address, home string) (string, error) {
	if c.settings == shipped {
		return proxy.Place{Root: ".", Folder: folder, Instances: [2]string{server, server}}.Shipped(c.kind)
	}
	return func(address, home string) (string, error) {
		insert := strings.NewReplacer("FOLDER", folder, "LISTEN", address, "SERVER", server, "SETTINGS", strings.Trim(c.settings, "\n"))
		if c.kind == proxy.HAProxy {
			return insert.Replace(haproxyConfig), nil
		}
		return proxy.NginxConfig(insert.Replace(nginxServer), home)
	}
}
