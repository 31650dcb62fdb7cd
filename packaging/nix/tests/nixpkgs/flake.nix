{
  description = "A stand-in for nixpkgs, for tests";

  outputs =
    { self }:
    let
      lib = import ./lib.nix;
    in
    {
      lib = lib // { nixosSystem = import ./nixos.nix { inherit lib; }; };
      legacyPackages = lib.genAttrs [
        "x86_64-linux"
        "aarch64-linux"
        "x86_64-darwin"
        "aarch64-darwin"
      ] (system: import ./pkgs.nix { inherit lib system; });
    };
}
