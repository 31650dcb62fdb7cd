# NixOS: services.restic-monitor. The unit is that of src/restic_monitor/units, as far as NixOS lets it be.
{
  config,
  lib,
  pkgs,
  utils,
  ...
}:

let
  inherit (lib)
    literalExpression
    mkDefault
    mkEnableOption
    mkIf
    mkOption
    mkPackageOption
    optional
    optionalAttrs
    types
    ;

  cfg = config.services.restic-monitor;
  option = path: lib.showOption ([ "services" "restic-monitor" ] ++ map toString path);
  refuse =
    list: wrong: message:
    map (each: {
      assertion = false;
      message = message each;
    }) (lib.filter wrong list);

  # Paths that are not in the store: everybody can read that.

  inStore = path: lib.hasPrefix "${builtins.storeDir}/" (toString path);
  isOutside = path: lib.isString path && lib.hasPrefix "/" path && !inStore path;
  outsidePath =
    # nixpkgs 25.05 and later
    types.externalPath or (
      types.addCheck types.str isOutside // { description = "absolute path not in the Nix store"; }
    );

  # Settings: every value with the path to it. A repository may be called `_secret`, too.

  isSecret = value: lib.isAttrs value && value ? _secret && !lib.isAttrs value._secret;
  isSet = value: lib.isAttrs value && !lib.isDerivation value && !isSecret value;

  # settings.defaults.extra_env.NAME, or settings.repositories.REPOSITORY.extra_env.NAME
  isVariable =
    path:
    let
      index = if builtins.elemAt path 1 == "repositories" then 3 else 2;
    in
    lib.length path == index + 2 && builtins.elemAt path index == "extra_env";

  leaves =
    path: value:
    if isSet value then
      lib.concatLists (lib.mapAttrsToList (name: leaves (path ++ [ name ])) value)
    else if lib.isList value then
      lib.concatLists (lib.imap0 (index: leaves (path ++ [ index ])) value)
    else
      [
        {
          inherit path value;
          key = toString (lib.last path);
          isVariable = isVariable path;
        }
      ];

  # As the program wants it: { _secret = FILE; } becomes { from_credential = ID; }
  rendered =
    path: value:
    if isSet value then
      lib.mapAttrs (name: rendered (path ++ [ name ])) value
    else if lib.isList value then
      lib.imap0 (index: rendered (path ++ [ index ])) value
    else if isSecret value then
      { from_credential = credentialId path; }
    else
      value;

  # No two paths share one: of two LoadCredential= with the same name systemd takes the last, without a word.
  credentialId = path: "settings-${builtins.hashString "sha256" (builtins.toJSON path)}";

  settings = lib.filterAttrs (_: section: section != { }) cfg.settings;
  values = leaves [ "settings" ] settings;
  secrets = lib.filter (leaf: isSecret leaf.value) values;

  # What would stand in the store and must not.

  isText = value: value != null && value != "" && !lib.isAttrs value;
  secretVariable = ".*(KEY|SECRET|TOKEN|PASSWORD|PASS|PASSPHRASE|SAS)";
  # a user and a password in an address, and where the https:// of rest: was forgotten; sftp://host:22/path@x has a port
  login = "(.*[A-Za-z0-9+.-]+://|(rest|s3):)[^[:space:]/?#:@]*:([0-9]+|[0-9]*[^[:space:]0-9/?#@][^[:space:]@]*)@.*";
  # rclone::s3,secret_access_key=…:bucket, in capitals
  connection = "RCLONE:.*[,_-](KEY|KEY_PEM|SECRET|TOKEN|PASS|PASSWORD2?|SAS_URL|CREDENTIALS|ACCESS_GRANT)=[^,:].*";
  # as the program reads a Push URL: the last part of its path is the token, unless that is /api/push/ or a template
  endsInToken =
    url:
    let
      address = builtins.match "[^:]+://[^/?#]+([^?#]*)([?#].*)?" (lib.toLower url);
      path = lib.head address;
      push = builtins.match ".*/api/push/*([^/]*)/*" path;
      last = if push != null then push else builtins.match ".*/([^/]+)" path;
      token = if address == null || last == null then "" else lib.head last;
    in
    token != "" && builtins.match "[{][{][^{}]*[}][}]" token == null;
  isLiteralSecret =
    {
      key,
      value,
      isVariable,
      ...
    }:
    isText value
    && (
      key == "push_token"
      || key == "password"
      || (isVariable && builtins.match secretVariable (lib.toUpper key) != null)
      || (key == "push_url" && endsInToken (toString value))
      || builtins.match login (toString value) != null
      || (lib.hasPrefix "rclone:" (toString value) && builtins.match connection (lib.toUpper value) != null)
    );
  literalSecrets = lib.filter isLiteralSecret values;

  # A path literal is copied to the store. A certificate of an authority is nobody's secret.
  secretFile = "password_file|tls_client_cert|from_file|RESTIC_PASSWORD_FILE|GOOGLE_APPLICATION_CREDENTIALS";
  isSecretInStore =
    { key, value, ... }:
    (builtins.isPath value && key != "cacert")
    || (lib.isString value && builtins.match secretFile key != null && inStore value);

  # Keys and variables that want a path.
  pathKeys = [
    "cacert"
    "cache_dir"
    "password_file"
    "restic"
    "tls_client_cert"
  ];
  pathVariable = ".*_FILE|RCLONE_CONFIG|GOOGLE_APPLICATION_CREDENTIALS|RESTIC_CACERT|RESTIC_TLS_CLIENT_CERT|AWS_CA_BUNDLE";
  wantsPath =
    { key, isVariable, ... }:
    if isVariable then builtins.match pathVariable key != null else lib.elem key pathKeys;
  # what to write where somebody gave a file's content
  insteadOfSecret =
    { key, ... }:
    if key == "password_file" then
      "password._secret = \"/path\""
    else
      "credentials.NAME = \"/path\", and ${key} = { credential_path = \"NAME\"; }";

  visible = "[^[:cntrl:]]*[^[:cntrl:][:space:]][^[:cntrl:]]*";

  # Credentials: files that root reads for the service when it starts, into a private place in memory.

  isReserved = id: lib.elem id [ "config.yaml" "environment" ] || lib.hasPrefix "settings-" id;
  named = id: path: { inherit id path; };
  namedByUser =
    optional (cfg.configFile != null) (named "config.yaml" cfg.configFile)
    ++ optional (cfg.environmentFile != null) (named "environment" cfg.environmentFile)
    ++ lib.mapAttrsToList named cfg.credentials;
  credentials =
    namedByUser ++ map (leaf: named (credentialId leaf.path) (toString leaf.value._secret)) secrets;

  # Where each comes from: messages name it, and the program finds it by that name, too. One variable has 128 KiB at most,
  # or the service does not start; without their files' names, the _secret only have worse messages.
  listOf = lib.concatMapStringsSep " " ({ id, path }: lib.escapeShellArg "${id}:${path}");
  fits = list: lib.stringLength list <= 120000;
  credentialsList = if fits (listOf credentials) then listOf credentials else listOf namedByUser;

  # systemd 255 and later keep them in 1 MiB, and each takes a whole page of 4 KiB.
  mostCredentials = 250;

  withoutSpecifiers = lib.replaceStrings [ "%" ] [ "%%" ];
  quoted = text: withoutSpecifiers (builtins.toJSON text);

  # JSON is YAML.
  format = pkgs.formats.json { };
  settingsFile = format.generate "restic-monitor.json" (rendered [ "settings" ] settings);
  checkedSettingsFile = pkgs.runCommand "restic-monitor.json" { } ''
    ${lib.getExe cfg.package} config check --no-secrets --config ${settingsFile}
    cp ${settingsFile} $out
  '';
  file = if cfg.checkConfig then checkedSettingsFile else settingsFile;
in
{
  options.services.restic-monitor = {
    enable = mkEnableOption "restic-monitor, which tells Uptime Kuma whether restic repositories have fresh snapshots";

    package = mkOption {
      type = types.package;
      default = pkgs.restic-monitor or (pkgs.callPackage ./package.nix { });
      defaultText = literalExpression "pkgs.restic-monitor or (pkgs.callPackage ./package.nix { })";
      description = "The restic-monitor package to use.";
    };

    resticPackage = mkPackageOption pkgs "restic" { };

    interval = mkOption {
      type = types.either types.str (types.listOf types.str);
      default = "hourly UTC";
      example = "*-*-* 06,18:00:00";
      description = ''
        When to look, in the format of {manpage}`systemd.time(7)`; a list for several times. The default is of UTC, since
        where the clock is set back systemd leaves one of two equal hours out.

        What to type into Uptime Kuma as *Heartbeat Interval*: the longest gap between two runs + the longest run
        (`TimeoutStartSec`, 10 minutes) + 5 minutes of slack, in seconds. `hourly UTC` is 4500. 12 hours apart needs a
        window of **more** than 12 hours, 44100: with 43200 every run would be an alarm. Times without `UTC` are local:
        add 3600 where the clock is set. The random delay is the same for each run and needs nothing added.
      '';
    };

    randomizedDelay = mkOption {
      type = types.str;
      default = "5min";
      example = "0";
      description = "The most by which runs begin later, all by the same time: a machine of its own minute for each.";
    };

    settings = mkOption {
      type = types.submodule {
        freeformType = format.type;
        options = {
          defaults = mkOption {
            type = types.attrsOf format.type;
            default = { };
            description = "Keys for every repository that does not say otherwise.";
          };
          repositories = mkOption {
            type = types.attrsOf (types.nullOr (types.attrsOf format.type));
            default = { };
            description = "What to look at, by name.";
          };
        };
      };
      default = { };
      example = literalExpression ''
        {
          defaults = {
            url = "s3:https://s3.example.com/restic-{{ .Name }}";
            push_url = "https://uptime-kuma.example.com/api/push/";
          };
          repositories = {
            web-server.push_token._secret = "/run/secrets/kuma-web-server";
            db-server = {
              push_token._secret = "/run/secrets/kuma-db-server";
              max_age = "6h";
            };
          };
        }
      '';
      description = ''
        The configuration, with the keys of {file}`config.yaml`.

        It is written to the Nix store, which everybody can read. So give a secret as the file that holds it,
        `push_token._secret = "/run/secrets/x"`, in the place of any text: root reads the file when the service starts,
        and only the service sees it. Where a key wants a file (`cacert`, an ssh key), see {option}`credentials`.
      '';
    };

    configFile = mkOption {
      type = types.nullOr outsidePath;
      default = null;
      example = "/run/secrets/restic-monitor.yaml";
      description = ''
        A configuration file to use instead of {option}`settings`. It is not copied to the store, and may be readable by
        root alone. So may the files that it names, if each is in {option}`credentials`, too.
      '';
    };

    environmentFile = mkOption {
      type = types.nullOr outsidePath;
      default = null;
      example = "/run/secrets/restic-monitor-env";
      description = ''
        A file with lines `NAME=value`: `RESTIC_PASSWORD`, `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, … It may be
        readable by root alone: the service gets a copy of its own, in memory. It must be there, otherwise nothing runs.
      '';
    };

    credentials = mkOption {
      type = types.attrsOf outsidePath;
      default = { };
      example = {
        backup-ssh-key = "/run/secrets/backup-ssh-key";
      };
      description = ''
        Files that may be readable by root alone, by a name of your choice. In {option}`settings`,
        `{ credential_path = "backup-ssh-key"; }` is the path where the service finds it, and
        `{ from_credential = "backup-ssh-key"; }` what it holds.
      '';
    };

    checkConfig = mkOption {
      type = types.bool;
      default = pkgs.stdenv.buildPlatform.canExecute pkgs.stdenv.hostPlatform;
      defaultText = literalExpression "pkgs.stdenv.buildPlatform.canExecute pkgs.stdenv.hostPlatform";
      description = "Whether building the system fails when {option}`settings` are wrong. That reads no secret.";
    };

    fast = mkOption {
      type = types.bool;
      default = false;
      description = "List the files, without the password, where that can be done (`mode: fast`).";
    };

    readPaths = mkOption {
      type = types.listOf types.str;
      default = [ ];
      example = [ "/home/alice/backup" ];
      description = ''
        Local repositories that the sandbox hides: what is below {file}`/home`, {file}`/root` and {file}`/run/user`.
        The service sees them read-only. Their permissions count as ever, see {option}`supplementaryGroups`. One that is
        missing is left out: it is down then, which is told.
      '';
    };

    supplementaryGroups = mkOption {
      type = types.listOf types.str;
      default = [ ];
      example = [ "backup" ];
      description = "Groups that the service is in, too: those that may read local repositories.";
    };

    extraPackages = mkOption {
      type = types.listOf types.package;
      default = [ pkgs.openssh ];
      defaultText = literalExpression "[ pkgs.openssh ]";
      example = literalExpression "[ pkgs.openssh pkgs.rclone ]";
      description = "Programs that restic and restic-monitor start: ssh for `sftp:`, rclone for `rclone:`.";
    };

    extraArgs = mkOption {
      type = types.listOf types.str;
      default = [ ];
      example = [ "--verbose" ];
      description = "Further arguments of {command}`restic-monitor run`.";
    };

    onFailure = mkOption {
      type = types.listOf types.str;
      default = [ ];
      example = [ "notify-by-mail@%n.service" ];
      description = ''
        Units to start when the service fails. It fails if somebody was not told: a push was refused, a repository that
        is down has no push address, the configuration is wrong. A repository that is down and was told is no failure.
      '';
    };
  };

  config = mkIf cfg.enable {
    warnings =
      optional (literalSecrets != [ ]) ''
        services.restic-monitor: everybody on this machine can read the Nix store, and these secrets would stand in it:
        ${lib.concatMapStringsSep "\n" (leaf: "  ${option leaf.path}") literalSecrets}
        Put each into a file outside the store, and name the file instead:
          ${option (lib.head literalSecrets).path}._secret = "/run/secrets/NAME";''
      ++ optional (lib.length credentials > mostCredentials) (
        "services.restic-monitor: ${toString (lib.length credentials)} files are handed over, and systemd 255 or later "
        + "has room for about ${toString mostCredentials}: the service would fail with 243/CREDENTIALS. "
        + "Put what is secret into one file: configFile or environmentFile."
      );

    assertions = [
      {
        assertion = cfg.configFile != null || cfg.settings.repositories != { };
        message = "services.restic-monitor: nothing to look at; set settings.repositories or configFile.";
      }
      {
        assertion = cfg.configFile == null || settings == { };
        message = "services.restic-monitor: settings and configFile exclude each other; remove one.";
      }
      {
        assertion = fits (listOf namedByUser);
        message = "services.restic-monitor.credentials: too many, or too long names, for one unit.";
      }
    ]
    ++ refuse secrets (leaf: !isOutside leaf.value._secret || lib.attrNames leaf.value != [ "_secret" ]) (
      leaf:
      "${option leaf.path}._secret must be the absolute path of a file outside the Nix store, as text, "
      + "and stand alone."
    )
    ++ refuse secrets wantsPath (
      leaf: "${option leaf.path} is the path of a file, not what a file holds; write ${insteadOfSecret leaf}."
    )
    ++ refuse values isSecretInStore (
      leaf:
      "${option leaf.path} would be a file in the Nix store, which everybody can read; "
      + "write a path outside of it, as text."
    )
    ++ refuse (lib.attrNames cfg.credentials) (id: builtins.match "[A-Za-z0-9_@-][A-Za-z0-9_.@-]*" id == null) (
      id: "${option [ "credentials" id ]}: a name has letters, digits and _ . @ - only, and no dot at its start."
    )
    ++ refuse (lib.attrNames cfg.credentials) isReserved (
      id: "${option [ "credentials" id ]}: the module uses this name itself; choose another."
    )
    ++ refuse (lib.attrNames cfg.settings.repositories) (name: builtins.match visible name == null) (
      name:
      "${option [ "settings" "repositories" name ]}: a repository's name is one line of visible characters."
    );

    # for restic-monitor(1), and for `restic-monitor config show`
    environment.systemPackages = [ cfg.package ];
    environment.etc = optionalAttrs (cfg.configFile == null) { "restic-monitor/config.yaml".source = file; };

    users.users.restic-monitor = {
      isSystemUser = true;
      group = "restic-monitor";
      description = "restic-monitor";
      home = "/var/lib/restic-monitor"; # where ssh looks for known_hosts
    };
    users.groups.restic-monitor = { };

    systemd.services.restic-monitor = {
      description = "Look at restic repositories and tell whether they are fresh";
      documentation = [ "man:restic-monitor(1)" ];
      wants = [ "network-online.target" ];
      after = [ "network-online.target" ];
      inherit (cfg) onFailure;
      restartIfChanged = false;
      path = [ cfg.resticPackage ] ++ cfg.extraPackages;
      environment =
        optionalAttrs (credentialsList != "") {
          RESTIC_MONITOR_CREDENTIALS = withoutSpecifiers credentialsList;
        }
        // optionalAttrs (cfg.environmentFile != null) {
          RESTIC_MONITOR_ENVIRONMENT_FILE = "%d/environment"; # PID 1 cannot read it: EnvironmentFile= comes too early
        }
        // optionalAttrs cfg.fast { RESTIC_MONITOR_FAST = "true"; };

      serviceConfig = {
        Type = "oneshot";
        # 0 when every result reached its receivers, whatever it was: the unit fails if somebody was not told
        ExecStart =
          utils.escapeSystemdExecArgs [
            (lib.getExe cfg.package)
            "run"
            "--ok-when-told"
            "--config"
          ]
          + " "
          + (if cfg.configFile != null then "%d/config.yaml" else utils.escapeSystemdExecArg file)
          + lib.concatMapStrings (argument: " ${utils.escapeSystemdExecArg argument}") cfg.extraArgs;
        TimeoutStartSec = mkDefault "10min";
        User = "restic-monitor";
        Group = "restic-monitor";
        Nice = 10;
        IOSchedulingClass = "idle";

        StateDirectory = "restic-monitor";
        StateDirectoryMode = "0700";
        CacheDirectory = "restic-monitor";
        CacheDirectoryMode = "0700";
        UMask = "0077";

        AmbientCapabilities = "";
        CapabilityBoundingSet = "";
        DeviceAllow = "";
        DevicePolicy = "closed";
        KeyringMode = "private";
        LockPersonality = true;
        MemoryDenyWriteExecute = true;
        NoNewPrivileges = true;
        PrivateDevices = true;
        PrivateIPC = true;
        PrivateMounts = true;
        PrivateTmp = true;
        PrivateUsers = true;
        ProcSubset = "pid";
        ProtectClock = true;
        ProtectControlGroups = true;
        ProtectHome = "tmpfs"; # not true: readPaths below /home would not work
        ProtectHostname = true;
        ProtectKernelLogs = true;
        ProtectKernelModules = true;
        ProtectKernelTunables = true;
        ProtectProc = "invisible";
        ProtectSystem = "strict";
        RemoveIPC = true;
        RestrictAddressFamilies = "AF_INET AF_INET6 AF_UNIX";
        RestrictNamespaces = true;
        RestrictRealtime = true;
        RestrictSUIDSGID = true;
        SystemCallArchitectures = "native";
        SystemCallErrorNumber = "EPERM";
        SystemCallFilter = [
          "@system-service"
          "~@privileged @resources"
        ];
      }
      // optionalAttrs (credentials != [ ]) {
        LoadCredential = map ({ id, path }: "${id}:${withoutSpecifiers path}") credentials;
      }
      # "-": one that is missing must not keep the others from being looked at
      // optionalAttrs (cfg.readPaths != [ ]) { BindReadOnlyPaths = map (path: quoted "-${path}") cfg.readPaths; }
      // optionalAttrs (cfg.supplementaryGroups != [ ]) { SupplementaryGroups = cfg.supplementaryGroups; };
    };

    systemd.timers.restic-monitor = {
      description = "Look at restic repositories regularly";
      documentation = [ "man:restic-monitor(1)" ];
      wantedBy = [ "timers.target" ];
      timerConfig = {
        OnCalendar = cfg.interval;
        RandomizedDelaySec = cfg.randomizedDelay;
        # a delay of this machine's own, the same each time: the gap between two runs stays that of OnCalendar
        FixedRandomDelay = true;
        Persistent = true;
      };
    };
  };
}
