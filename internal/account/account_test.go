package account_test

import (
	"testing"
	"testing/synctest"
	"time"

	"spillway/internal/account"
)

func TestAccountAddsUpToTheWallTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		a := account.New()
		time.Sleep(1 * time.Second)
		if before := a.Switch(account.OnClient); before != account.OnCPU {
			t.Errorf("a new account is on %v, want %v", before, account.OnCPU)
		}
		time.Sleep(2 * time.Second)
		before := a.Switch(account.OnStore)
		time.Sleep(4 * time.Second)
		a.Switch(before)
		time.Sleep(8 * time.Second)
		a.Worked(time.Minute)
		spent := a.Spent()
		want := account.Spent{Workers: time.Minute}
		want.By[account.OnCPU], want.By[account.OnClient], want.By[account.OnStore] = 1*time.Second, 10*time.Second, 4*time.Second
		if spent != want {
			t.Errorf("spent %+v, want %+v", spent, want)
		}
		if wall := spent.Wall(); wall != time.Since(began) {
			t.Errorf("the labels add up to %v, want %v", wall, time.Since(began))
		}
		if longest := spent.Longest(); longest != account.OnClient {
			t.Errorf("the longest label is %v, want %v", longest, account.OnClient)
		}
	})
}

func TestNilAccountRecordsNothing(t *testing.T) {
	var none *account.Account
	none.Switch(none.Switch(account.OnDisk))
	none.Worked(time.Second)
}
