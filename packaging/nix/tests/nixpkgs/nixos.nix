# NixOS as far as module.nix, its test and docs/nixos.md touch it: the options that they set, and units as sets.
{ lib }:
{ modules, system ? "x86_64-linux", specialArgs ? { } }:
let
  inherit (lib) mkOption types;
  inherit (types) anything attrsOf bool int listOf nullOr oneOf package path str submodule;

  set = type: mkOption { type = attrsOf type; default = { }; };
  list = type: mkOption { type = listOf type; default = [ ]; };
  text = default: mkOption { type = str; inherit default; };

  unit = {
    description = text "";
    documentation = list str;
    wantedBy = list str;
    wants = list str;
    after = list str;
    onFailure = list str;
    unitConfig = set (oneOf [ bool int str (listOf str) ]);
  };
  # yes and no are text to systemd, and so is all that is not a list
  section = set (oneOf [ bool int str (listOf str) ]);
  service = submodule {
    options = unit // {
      path = list package;
      environment = set (nullOr str);
      restartIfChanged = mkOption { type = bool; default = true; };
      script = text "";
      serviceConfig = section;
    };
  };
  timer = submodule { options = unit // { timerConfig = section; }; };

  # as sops-nix and agenix: each has the path where it will be
  secretFiles =
    folder: set anything // { apply = builtins.mapAttrs (name: secret: { path = "${folder}/${name}"; } // secret); };

  nixos = { config, ... }: {
    options = {
      assertions = list anything;
      warnings = list str;
      nixpkgs.overlays = list anything;
      systemd.services = set service;
      systemd.timers = set timer;
      users.users = set anything;
      users.groups = set anything;
      environment.etc = set anything;
      environment.systemPackages = list package;
      programs.ssh.knownHosts = set anything;
      services.restic.backups = set anything;
      sops.secrets = secretFiles "/run/secrets";
      age.secrets = secretFiles "/run/agenix";
      system.build.toplevel = mkOption { type = package; };
    };
    config.system.build.toplevel =
      let
        failed = map (each: each.message) (builtins.filter (each: !each.assertion) config.assertions);
        warned = builtins.foldl' (rest: warning: builtins.trace "warning: ${warning}" rest) system config.warnings;
      in
      if failed != [ ] then
        throw "Failed assertions:\n${lib.concatMapStringsSep "\n" (message: "- ${message}") failed}"
      else
        derivation {
          name = "nixos-system";
          builder = "/bin/sh";
          system = warned;
          units = builtins.toJSON config.systemd;
          etc = builtins.toJSON config.environment.etc;
        };
  };

  # As nixpkgs' nixos/lib/utils.nix: JSON's quotes and escapes are a part of systemd's.
  utils = rec {
    escapeSystemdExecArg =
      argument: builtins.replaceStrings [ "%" "$" ] [ "%%" "$$" ] (builtins.toJSON (toString argument));
    escapeSystemdExecArgs = lib.concatMapStringsSep " " escapeSystemdExecArg;
  };
in
{
  config = lib.evaluateModules {
    modules = [ nixos ] ++ modules;
    arguments = config: specialArgs // {
      inherit utils;
      pkgs = builtins.foldl' (pkgs: pkgs.extend) (import ./pkgs.nix { inherit lib system; }) config.nixpkgs.overlays;
    };
  };
}
