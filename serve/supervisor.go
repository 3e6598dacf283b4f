package serve

import (
	"context"
	"net"
	"time"

	"go.uber.org/zap"
)

// What a service of systemd with Type=notify says (sd_notify(3)).
const (
	notifyReady    = "READY=1"
	notifyStopping = "STOPPING=1"
)

// notifyTimeout bounds a message to systemd, in case systemd hangs.
const notifyTimeout = time.Second

// notifySupervisor tells systemd the state of the service. Without systemd it does nothing.
func (svc *service) notifySupervisor(ctx context.Context, state string) {
	if svc.notifySocket == "" {
		return
	}
	if err := sendDatagram(ctx, svc.notifySocket, state); err != nil {
		svc.log.Warn("systemd cannot be told the state of the service", zap.String("state", state), zap.Error(err))
	}
}

// sendDatagram sends text to a Unix socket. A leading @ in its name stands for an abstract
// one, as in $NOTIFY_SOCKET.
func sendDatagram(ctx context.Context, socket, text string) error {
	conn, err := new(net.Dialer).DialContext(ctx, "unixgram", socket)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetWriteDeadline(time.Now().Add(notifyTimeout)); err != nil {
		return err
	}
	_, err = conn.Write([]byte(text))
	return err
}
