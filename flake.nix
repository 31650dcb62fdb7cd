{
  description = "restic-monitor: tells Uptime Kuma whether restic repositories have fresh snapshots";

  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-unstable";

  outputs =
    { self, nixpkgs }:
    let
      inherit (nixpkgs) lib;
      linux = [
        "x86_64-linux"
        "aarch64-linux"
      ];
      darwin = [
        "x86_64-darwin"
        "aarch64-darwin"
      ];
      forEach =
        systems: outputs:
        lib.genAttrs systems (
          system: outputs nixpkgs.legacyPackages.${system} self.packages.${system}
        );
    in
    {
      overlays.default = final: _: { restic-monitor = final.callPackage ./packaging/nix/package.nix { }; };

      # a list: Nix 2.8 takes no bare path here
      nixosModules.default.imports = [ ./packaging/nix/module.nix ];

      packages = lib.genAttrs (linux ++ darwin) (system: {
        default = nixpkgs.legacyPackages.${system}.callPackage ./packaging/nix/package.nix { };
      });

      apps = forEach (linux ++ darwin) (
        _: packages: {
          default = {
            type = "app";
            program = lib.getExe packages.default;
            inherit (packages.default) meta;
          };
        }
      );

      checks = forEach linux (
        pkgs: packages: {
          package = packages.default;
          nixos = pkgs.testers.runNixOSTest (import ./packaging/nix/nixos-test.nix { inherit self; });
        }
      );

      devShells = forEach (linux ++ darwin) (
        pkgs: packages: {
          default = pkgs.mkShell {
            inputsFrom = [ packages.default ];
            packages = [
              pkgs.openssh
              pkgs.rclone
              pkgs.restic
              pkgs.uv
            ];
          };
        }
      );

      formatter = forEach (linux ++ darwin) (pkgs: _: pkgs.nixfmt-tree);
    };
}
