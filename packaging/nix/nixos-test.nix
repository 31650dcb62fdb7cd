# A machine with a real backup, a stand-in for Uptime Kuma, and the module. For pkgs.testers.runNixOSTest.
{ self }:
{
  name = "restic-monitor";

  nodes.machine =
    { pkgs, ... }:
    {
      imports = [ self.nixosModules.default ];
      nixpkgs.overlays = [ self.overlays.default ];

      services.restic.backups.web-server = {
        initialize = true;
        repository = "/home/backup/web-server";
        passwordFile = "/run/keys/password";
        paths = [ "/etc/hostname" ];
        timerConfig = null;
      };

      # writes down what it is asked for, and takes one token
      systemd.services.uptime-kuma = {
        wantedBy = [ "multi-user.target" ];
        path = [ pkgs.python3 ];
        script = "exec python3 ${pkgs.writeText "uptime-kuma.py" ''
          from http.server import BaseHTTPRequestHandler, HTTPServer


          class Handler(BaseHTTPRequestHandler):
              def do_GET(self):
                  known = self.path.startswith("/api/push/right-token?")
                  with open("/run/pushes", "a") as pushes:
                      pushes.write(self.path + "\n")
                  self.send_response(200 if known else 404)
                  self.end_headers()
                  self.wfile.write(b'{"ok": true}' if known else b'{"ok": false, "msg": "not found"}')


          HTTPServer(("127.0.0.1", 3001), Handler).serve_forever()
        ''}";
      };

      systemd.services.tell-root.script = "echo told >/run/root-was-told";

      services.restic-monitor = {
        enable = true;
        interval = "*-*-* 06,18:00:00";
        environmentFile = "/run/keys/environment";
        readPaths = [ "/home/backup" ];
        supplementaryGroups = [ "users" ];
        onFailure = [ "tell-root.service" ];
        settings = {
          defaults.push_url = "http://127.0.0.1:3001/api/push/";
          repositories.web-server = {
            url = "/home/backup/web-server";
            push_token._secret = "/run/keys/token";
            max_age = "1d";
          };
        };
      };
    };

  testScript = ''
    secrets = {"password": "correct horse", "environment": "RESTIC_PASSWORD='correct horse'", "token": "right-token"}
    machine.wait_for_unit("multi-user.target")
    machine.wait_for_open_port(3001)
    machine.succeed("mkdir -p -m 0755 /run/keys")
    for name, secret in secrets.items():
        machine.succeed(f'umask 077; echo "{secret}" >/run/keys/{name}')

    with subtest("the timer is set"):
        machine.succeed("systemctl is-active restic-monitor.timer")

    with subtest("a repository that is not there is down, was told, and is no failure of the unit"):
        machine.succeed("systemctl start restic-monitor.service")
        machine.succeed("grep 'status=down' /run/pushes")

    with subtest("a fresh snapshot is up"):
        machine.succeed("systemctl start restic-backups-web-server.service")
        machine.succeed("chgrp -R users /home/backup && chmod -R g+rX,o= /home/backup && rm /run/pushes")
        machine.succeed("systemctl start restic-monitor.service")
        machine.succeed("grep '^/api/push/right-token?.*status=up' /run/pushes")

    with subtest("it writes nothing into the repository, and shows no secret"):
        machine.fail("find /home/backup -user restic-monitor | grep .")
        for secret in ("correct horse", "right-token"):
            machine.fail(f"systemctl show restic-monitor.service | grep '{secret}'")
            machine.fail(f"journalctl -u restic-monitor.service | grep '{secret}'")

    with subtest("the sandbox is tight"):
        machine.succeed("systemd-analyze security --threshold=11 restic-monitor.service")

    with subtest("a push that is refused is a failure, and root is told"):
        machine.succeed("echo wrong-token >/run/keys/token")
        machine.fail("systemctl start restic-monitor.service")
        machine.wait_until_succeeds("test -e /run/root-was-told")
        machine.succeed("echo right-token >/run/keys/token")

    with subtest("an old snapshot is down"):
        machine.succeed("rm /run/pushes && date --set '+3 days'")
        machine.succeed("systemctl start restic-monitor.service")
        machine.succeed("grep 'status=down.*STALE' /run/pushes")
  '';
}
