package main

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"time"

	"spillway/testdata/form"
)

const (
	// unreadFor is longer than the program gives a client to read its answer.
	unreadFor = 65 * time.Second

	// unreadWindow is how many bytes of an answer the client's system takes at most.
	unreadWindow = 4 << 10
)

// ignore sends a parcel and does not read the answer.
func (l *load) ignore(ctx context.Context, p *parcel) error {
	f := form.New()
	api, err := url.Parse(l.daemon.API)
	if err != nil {
		return err
	}
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", api.Host)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.(*net.TCPConn).SetReadBuffer(unreadWindow); err != nil {
		return err
	}
	_, err = fmt.Fprintf(conn, "POST /upload/ HTTP/1.1\r\nHost: %s\r\nAuth-Token: dev\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n",
		api.Host, f.ContentType, f.Length(p.length()))
	if err == nil {
		err = p.writeForm(conn, f)
	}
	if err != nil {
		return nil // refused for want of room, which goes unread as well
	}
	select {
	case <-time.After(unreadFor):
	case <-ctx.Done():
	}
	return nil
}
