# What a NixOS configuration becomes, as JSON can show it. `modules` are NixOS modules beside ours.
{ modules, ours ? [ ../module.nix ] }:
let
  nixos = import ./nixpkgs/nixos.nix { lib = import ./nixpkgs/lib.nix; };
  inherit (nixos { modules = ours ++ modules; }) config;
  service = config.systemd.services.restic-monitor or null;
in
{
  inherit (config) warnings;
  failed = map (each: each.message) (builtins.filter (each: !each.assertion) config.assertions);
  inherit (config.users) users groups;
  inherit (config.systemd) services timers;
  etc = builtins.attrNames config.environment.etc;
  installed = map (package: package.name) config.environment.systemPackages;
  path = map (package: package.name) (service.path or [ ]);
  # the file that the program is given, where it is not checked before
  settings =
    let
      file = config.environment.etc."restic-monitor/config.yaml".source or { };
    in
    file.value or null;
}
