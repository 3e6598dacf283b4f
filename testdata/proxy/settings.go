package proxy

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Place is what differs between the settings of a test and those of the folder deploy.
type Place struct {
	Root      string    // of the repository
	Instances [2]string // addresses of Spillway
	Folder    string    // with cert.pem, key.pem, and both in both.pem
}

// nginxConfig is what Debian's nginx.conf has around the settings, for a process in the
// foreground.
const nginxConfig = `
user USER;
daemon off;
worker_processes 2;
pid HOME/pid;
error_log stderr;
events {}
http {
	access_log HOME/access.log;
	client_body_temp_path HOME/body;
	proxy_temp_path HOME/proxy;
SETTINGS
}
`

// NginxConfig returns settings for nginx that have these in http {}. Its files are in home.
func NginxConfig(settings, home string) (string, error) {
	user, err := account()
	if err != nil {
		return "", err
	}
	return strings.NewReplacer("USER", user, "HOME", home, "SETTINGS", strings.Trim(settings, "\n")).Replace(nginxConfig), nil
}

// change is a text of the shipped settings, and what stands there in a test.
type change struct{ from, to string }

// Shipped returns the settings of the folder deploy as a function for [Start]. Only
// addresses and paths differ.
func (p Place) Shipped(k Kind) func(address, home string) (string, error) {
	return func(address, home string) (string, error) {
		instances := []change{{"192.0.2.11:8000", p.Instances[0]}, {"192.0.2.12:8000", p.Instances[1]}}
		if k == HAProxy {
			return p.read("deploy/haproxy/haproxy.cfg", append(instances,
				change{"bind :443", "bind " + address},
				change{"/etc/haproxy/symbols.example.com.pem", filepath.Join(p.Folder, "both.pem")}))
		}
		text, err := p.read("deploy/nginx/spillway.conf", append(instances,
			change{"listen 443 ssl", "listen " + address + " ssl"},
			change{"	listen [::]:443 ssl;\n", ""},
			change{"/etc/ssl/certs/symbols.example.com.pem", filepath.Join(p.Folder, "cert.pem")},
			change{"/etc/ssl/private/symbols.example.com.key", filepath.Join(p.Folder, "key.pem")}))
		if err != nil {
			return "", err
		}
		return NginxConfig(text, home)
	}
}

// read reads a file and makes the changes, each at one place.
func (p Place) read(name string, changes []change) (string, error) {
	data, err := os.ReadFile(filepath.Join(p.Root, name))
	if err != nil {
		return "", err
	}
	text := string(data)
	for _, c := range changes {
		if n := strings.Count(text, c.from); n != 1 {
			return "", fmt.Errorf("%s has %q %d times, not once", name, c.from, n)
		}
		text = strings.Replace(text, c.from, c.to, 1)
	}
	return text, nil
}
