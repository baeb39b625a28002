# Ten pieces and more are cheaper, by so many percent.
printf 'bulk_discount\t10\n' >"$1/settings"
