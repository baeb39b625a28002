# The database: a directory of tables, a table being a file of `key<TAB>value` lines, sorted by key.
# Sourced by the programs in bin/; every function takes the directory first.

TAB=$(printf '\t')

# store_get DIR TABLE KEY: prints the value, or fails when there is none.
store_get() {
    while IFS=$TAB read -r key value; do
        if [ "$key" = "$3" ]; then
            printf '%s\n' "$value"
            return 0
        fi
    done <"$1/$2"
    return 1
}

# store_put DIR TABLE KEY VALUE: sets a value. The table changes at once or not at all.
store_put() {
    case $3$4 in
    *"$TAB"*)
        echo "store: keys and values hold no tabs" >&2
        return 1
        ;;
    esac
    {
        while IFS=$TAB read -r key value; do
            [ "$key" = "$3" ] || printf '%s\t%s\n' "$key" "$value"
        done <"$1/$2"
        printf '%s\t%s\n' "$3" "$4"
    } | sort >"$1/$2.new"
    mv "$1/$2.new" "$1/$2"
}

# store_keys DIR TABLE: prints every key.
store_keys() {
    cut -f1 "$1/$2"
}
