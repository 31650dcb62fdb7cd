# Modules: imports, mkIf, mkDefault, mkForce; definitions of several modules become one value, which is then checked.
# In nixpkgs each type merges in its own way. Here lists are joined, sets are merged, and all else must be defined once.
lib:
let
  inherit (builtins)
    all
    attrNames
    concatLists
    filter
    foldl'
    functionArgs
    head
    intersectAttrs
    isAttrs
    isFunction
    isList
    mapAttrs
    removeAttrs
    tail
    ;

  refuse = path: message: throw "The option `${lib.showOption path}' ${message}";
  isOption = value: value._type or null == "option";
  isSet = value: isAttrs value && !lib.isDerivation value;
  union = sets: attrNames (foldl' (all: set: all // set) { } sets);

  # Definitions: what mkIf and mkDefault say about them is decided where they end, at an option; before that they are
  # only moved inwards. So a condition may depend on another option.

  isIf = definition: definition._type or null == "if";
  isOverride = definition: definition._type or null == "override";
  under =
    name: definition:
    if isIf definition then definition // { content = under name definition.content; } else definition.${name};
  names = definition: if isIf definition then names definition.content else attrNames definition;
  below =
    definitions: name:
    map (under name) (filter (definition: lib.elem name (names definition)) definitions);

  # [ { priority, value } ]
  decided =
    definition:
    if isIf definition then
      (if definition.condition then decided definition.content else [ ])
    else if isOverride definition then
      map (found: found // { inherit (definition) priority; }) (decided definition.content)
    else
      [ { priority = 100; value = definition; } ];
  strongest =
    definitions:
    let
      found = concatLists (map decided definitions);
      least = foldl' (least: each: if each.priority < least then each.priority else least) 10000 found;
    in
    map (each: each.value) (filter (each: each.priority == least) found);

  merge =
    path: definitions:
    let
      values = strongest definitions;
    in
    if all isSet values then
      mapAttrs (name: merge (path ++ [ name ])) (
        lib.filterAttrs (_: inner: strongest inner != [ ]) (
          lib.genAttrs (union values) (name: map (value: value.${name}) (filter (value: value ? ${name}) values))
        )
      )
    else if all isList values then
      concatLists values
    else if all (value: value == head values) (tail values) then
      head values
    else
      refuse path "has conflicting definitions.";

  option =
    path: declared: definitions:
    let
      apply = declared.apply or (value: value);
      found = strongest definitions;
      value =
        if found != [ ] then
          merge path found
        else
          declared.default or (refuse path "was accessed but has no value defined.");
    in
    apply (
      if declared.type.check value then
        declared.type.value path value
      else
        refuse path "is not of type `${declared.type.description}'."
    );

  options =
    path: declared: definitions:
    let
      unknown = filter (name: !declared ? ${name}) (concatLists (map names definitions));
      value =
        name: inner:
        (if isOption inner then option else options) (path ++ [ name ]) inner (below definitions name);
    in
    if unknown != [ ] then refuse (path ++ [ (head unknown) ]) "does not exist." else mapAttrs value declared;

  load =
    arguments: module:
    let
      imported = if builtins.isPath module || builtins.isString module then import module else module;
      body = if isFunction imported then imported (intersectAttrs (functionArgs imported) arguments) else imported;
    in
    concatLists (map (load arguments) (body.imports or [ ]))
    ++ [
      {
        options = body.options or { };
        config = body.config or (removeAttrs body [ "imports" "options" "_file" ]);
      }
    ];

  mergedOptions = foldl' (
    one: other:
    let
      inner =
        name: value:
        if one ? ${name} && !isOption value then mergedOptions [ one.${name} value ] else value;
    in
    one // mapAttrs inner other
  ) { };
in
{
  # For types.submodule: the value of a set with these options; `freeform` is the type of everything else.
  evaluateOptions =
    path: declared: freeform: given:
    let
      others = removeAttrs given (attrNames declared);
    in
    if freeform == null then
      options path declared [ given ]
    else if freeform.check others then
      others // options path declared [ (intersectAttrs declared given) ]
    else
      refuse path "has values that are not of type `${freeform.description}'.";

  # The configuration that all modules make together. `arguments` are those of module functions, but for config and lib.
  evaluateModules =
    { modules, arguments }:
    lib.fix (
      config:
      let
        loaded = concatLists (map (load (arguments config // { inherit config lib; })) modules);
      in
      options [ ] (mergedOptions (map (module: module.options) loaded)) (map (module: module.config) loaded)
    );
}
